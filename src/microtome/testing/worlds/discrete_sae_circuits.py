"""Worlds of `discrete_sae_circuits`: the planted network, corrupt prompts without a key, a dictionary with a threshold."""

from dataclasses import replace
from typing import Any

import torch

from microtome.decompose.dictionary import SparseDictionary
from microtome.errors import ShapeError, UsageError
from microtome.method import Method
from microtome.rng import torch_rng
from microtome.subject.basis import Identity
from microtome.testing.case import Refusal, World
from microtome.testing.families.tables import ranked
from microtome.testing.planted_network import D_MODEL, KEYS, planted_network


def tiny(_method: Method, seed: int) -> World:
    """A planted head, which writes something only where there is a key."""
    return _world(seed, True)


def null(_method: Method, seed: int) -> World:
    """The same prompts on freshly drawn weights."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    planted = planted_network(seed, structured=structured)
    corrupt = planted.task.corrupt.clone()
    corrupt[:, planted.position] = KEYS + corrupt[:, planted.position] % KEYS
    directions = torch.nn.functional.normalize(torch.randn(64, D_MODEL, generator=torch_rng(seed, "codes")), dim=1)
    basis = SparseDictionary(
        "heads", W_enc=directions.T, b_enc=torch.full((64,), -0.1), W_dec=directions, b_dec=torch.zeros(D_MODEL)
    )
    given = {"subject": planted.subject, "task": replace(planted.task, corrupt=corrupt), "basis": basis}
    return World(given, {"planted": planted})


def truth(_method: Method, result: Any, world: World) -> float:
    """AUROC of the scores for the planted head, times how far it stands out."""
    planted = world.truth["planted"]
    here = (result.layer == planted.block) & (result.index == planted.head)
    table = result.table().sort_index()
    share = float(result.effect[here].sum()) / max(float(result.effect.sum()), 1e-9)
    return ranked(table, here.numpy()) * share


def refusals(_method: Method) -> list[Refusal]:
    """A dictionary of another width, a negative number of edges, pairs that do not correspond."""
    task = _world(0, True).given["task"]
    return [
        Refusal("a basis of another width", {"basis": Identity("heads", 5)}, ShapeError, "head_outputs"),
        Refusal("a negative number of edges", {"edges": -1}, UsageError, "edges"),
        Refusal("pairs of unequal length", {"task": replace(task, corrupt=task.corrupt[:, :-1])}, ShapeError, "equal length"),
    ]

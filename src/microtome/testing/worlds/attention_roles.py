"""Worlds of `attention_roles`: the planted head attends to one of two keys, the one that a query points at."""

from dataclasses import replace
from typing import Any

import torch

from microtome.errors import UsageError
from microtome.method import Method
from microtome.rng import rng
from microtome.testing.case import Refusal, World
from microtome.testing.families.networks import causal_rows, network_refusals
from microtome.testing.families.tables import ranked
from microtome.testing.planted_network import FILLER, KEY, PLACE, planted_network

ROLES = ("first", "second")


def tiny(method: Method, seed: int) -> World:
    """The planted head reads keys, and there is one, at the first or the second place, beside fillers."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """The same prompts on freshly drawn weights."""
    return _world(seed, False)


def _world(seed: int, structured: bool, n: int = 24) -> World:
    planted = planted_network(seed, structured=structured)
    draw = rng(seed, "attention roles world")
    if structured:
        _read_keys(planted)
    ids = torch.from_numpy(draw.integers(8, 16, (n, 5)))
    where = torch.from_numpy(draw.integers(0, 2, n))
    keys = torch.from_numpy(draw.integers(0, 8, n))
    clean, corrupt = ids.clone(), ids.clone()
    clean[torch.arange(n), where], corrupt[torch.arange(n), 1 - where] = keys, keys
    roles = {"first": [(0, 1)] * n, "second": [(1, 2)] * n, "right": [(int(w), int(w) + 1) for w in where]}
    task = replace(
        planted.task, clean=clean, corrupt=corrupt, answers=keys, wrong=(keys + 1) % 8, roles=roles, groups=list(range(n))
    )
    return World({"subject": planted.subject, "task": task, "candidates": ROLES}, {"planted": planted})


def _read_keys(planted: Any) -> None:
    """The head's key tells keys from fillers, instead of places."""
    attention = planted.subject.module.transformer.h[planted.block].attn
    width, first = attention.c_attn.weight.shape[0], planted.head * 8
    with torch.no_grad():
        column = attention.c_attn.weight[:, width + first]
        column[PLACE : PLACE + 8] -= 1.5 * (torch.arange(8) == planted.position)
        column[KEY : KEY + 8] += 1.5
        column[FILLER : FILLER + 8] -= 1.5


def truth(method: Method, result: Any, world: World) -> float:
    """AUROC of the scores for the planted head, times how far the best head prefers the right token."""
    return ranked(result.table, causal_rows(result.table, world.truth["planted"])) * max(0.0, result.estimate.value)


def refusals(method: Method) -> list[Refusal]:
    """Roles that are not there or too few; a right token that is no candidate; no draws."""
    return [
        *network_refusals(method),
        Refusal("an unknown role", {"candidates": ("first", "third")}, UsageError, "third"),
        Refusal("one candidate", {"candidates": ("first",)}, UsageError, "two roles"),
        Refusal("a right token that is no candidate", {"right": "end"}, UsageError, "none of the candidates"),
        Refusal("no draws", {"draws": 0}, UsageError, "draws"),
    ]

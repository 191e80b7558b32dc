"""Worlds of `group_composition_reps`: embeddings of a dihedral group made of one representation."""

from typing import Any

import torch

from microtome.decompose.irreps import irreps
from microtome.errors import Degenerate, NonFinite, ShapeError, UsageError
from microtome.method import Method
from microtome.rng import torch_rng
from microtome.stimuli.algorithmic.groups import dihedral
from microtome.testing.case import Refusal, World

SIDES, WIDTH = 7, 6


def tiny(method: Method, seed: int) -> World:
    """Entries of a two-dimensional representation."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """Random embeddings."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    g, table = torch_rng(seed, "embeddings of a group"), dihedral(SIDES)
    x = 0.1 * torch.randn(len(table), WIDTH, generator=g, dtype=torch.float64)
    if structured:
        entries = irreps(table)[2 + seed % 3].matrices.flatten(1)
        x = x + entries @ torch.randn(4, WIDTH, generator=g, dtype=torch.float64)
    return World({"embeddings": x, "table": table})


def truth(method: Method, result: Any, world: World) -> float:
    """Largest share that one representation holds."""
    return float(result.table["share"].max())


def refusals(method: Method) -> list[Refusal]:
    """A table of no group, other embeddings, and options out of range."""
    x, table = (_world(0, True).given[name] for name in ("embeddings", "table"))
    broken = table.clone()
    broken[1, 1] = 0
    return [
        Refusal("no group", {"table": broken}, UsageError, "group"),
        Refusal("embeddings of other elements", {"embeddings": x[:-1]}, ShapeError, "14 elements"),
        Refusal("a NaN", {"embeddings": torch.full_like(x, torch.nan)}, NonFinite, "embeddings"),
        Refusal("embeddings that are alike", {"embeddings": torch.ones_like(x)}, Degenerate, "vary"),
        Refusal("logits of another size", {"logits": x}, ShapeError, "logits"),
        Refusal("a share above 1", {"held": 2.0}, UsageError, "held"),
        Refusal("no draws", {"draws": 0}, UsageError, "draws"),
        Refusal("a negative seed", {"seed": -1}, UsageError, "seed"),
    ]

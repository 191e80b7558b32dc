"""Worlds of `assoc_memory_scaling`: pairs of random embeddings, stored in a matrix or not."""

from typing import Any

import torch

from microtome.decompose.associative import embeddings, store
from microtome.errors import Degenerate, NonFinite, ShapeError, UsageError
from microtome.method import Method
from microtome.rng import torch_rng
from microtome.testing.case import Refusal, World

INPUTS, OUTPUTS, WIDTH = 40, 5, 96


def tiny(method: Method, seed: int) -> World:
    """All pairs are stored."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """A random matrix of the same size."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    g = torch_rng(seed, "pairs")
    e, u = embeddings(INPUTS, WIDTH, seed, "inputs"), embeddings(OUTPUTS, WIDTH, seed, "outputs")
    f = torch.randperm(INPUTS, generator=g) % OUTPUTS
    w = store(e, u, f, torch.ones(INPUTS)) if structured else torch.randn(WIDTH, WIDTH, generator=g, dtype=e.dtype)
    return World({"memory": w, "inputs": e, "outputs": u, "classes": f})


def truth(method: Method, result: Any, world: World) -> float:
    """Share of the pairs recalled."""
    return float(result.estimate.value)


def refusals(method: Method) -> list[Refusal]:
    """Parts that do not belong together, and frequencies that are none."""
    given = _world(0, True).given
    return [
        Refusal("a matrix of another width", {"memory": given["memory"][:, :-1]}, ShapeError, "memory"),
        Refusal("classes of other inputs", {"classes": given["classes"][:-1]}, ShapeError, "classes"),
        Refusal("a class that is not there", {"classes": given["classes"] + 1}, UsageError, r"0\.\.4"),
        Refusal("one output", {"outputs": given["outputs"][:1]}, Degenerate, "one output"),
        Refusal("a NaN", {"memory": torch.full_like(given["memory"], torch.nan)}, NonFinite, "memory"),
        Refusal("negative frequencies", {"probabilities": -torch.ones(INPUTS)}, UsageError, "probabilities"),
        Refusal("no frequency", {"probabilities": torch.zeros(INPUTS)}, Degenerate, "asked"),
        Refusal("no draws", {"draws": 0}, UsageError, "draws"),
        Refusal("a negative seed", {"seed": -1}, UsageError, "seed"),
    ]

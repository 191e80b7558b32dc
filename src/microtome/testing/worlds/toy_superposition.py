"""Worlds of `toy_superposition`: a pentagon, a digon and a dedicated feature in orthogonal dimensions."""

import math
from typing import Any

import torch

from microtome.errors import Degenerate, NonFinite, ShapeError, UsageError
from microtome.method import Method
from microtome.rng import torch_rng
from microtome.testing.case import Refusal, World

POLYTOPES = ["pentagon"] * 5 + ["digon"] * 2 + ["dedicated"]


def tiny(method: Method, seed: int) -> World:
    """The arrangement, turned."""
    g = torch_rng(seed, "polytopes")
    angle = torch.arange(5) * 2 * math.pi / 5
    w = torch.zeros(8, 4)
    w[:5, 0], w[:5, 1], w[5:7, 2], w[7, 3] = angle.cos(), angle.sin(), torch.tensor([1.0, -1.0]), 1.0
    return World({"directions": w @ torch.linalg.qr(torch.randn(4, 4, generator=g))[0]}, {"polytopes": POLYTOPES})


def null(method: Method, seed: int) -> World:
    """Random directions of the same norms."""
    drawn = torch.randn(8, 4, generator=torch_rng(seed, "no polytopes"))
    return World({"directions": torch.nn.functional.normalize(drawn, dim=1)})


def truth(method: Method, result: Any, world: World) -> float:
    """Share of features whose polytope is named, and exactly."""
    table = result.table
    named = [a == b for a, b in zip(table["polytope"], world.truth["polytopes"], strict=True)]
    return float((named & (table["distance"].to_numpy() < 1e-3)).mean())


def refusals(method: Method) -> list[Refusal]:
    """No matrix, NaN, zeros, one direction, no draws, a seed that is none."""
    return [
        Refusal("a vector", {"directions": torch.ones(3)}, ShapeError, "matrix"),
        Refusal("a text", {"directions": "pentagon"}, UsageError, "str"),
        Refusal("a NaN", {"directions": torch.full((3, 2), torch.nan)}, NonFinite, "directions"),
        Refusal("nothing represented", {"directions": torch.zeros(3, 2)}, Degenerate, "represented"),
        Refusal("no draws", {"draws": 0}, UsageError, "draws"),
        Refusal("a negative seed", {"seed": -1}, UsageError, "seed"),
    ]

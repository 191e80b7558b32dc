"""Worlds of `bows`: features on a ring, active near a hidden place, and directions in the order of the ring."""

import math
from typing import Any

import torch

from microtome.errors import Degenerate, NonFinite, ShapeError, UsageError
from microtome.method import Method
from microtome.rng import torch_rng
from microtome.testing.case import Refusal, World

FEATURES, ROWS = 12, 400


def tiny(method: Method, seed: int) -> World:
    """Neighbours on the ring are active together."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """Each feature is as often active, by itself."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    g = torch_rng(seed, "ring of features")
    angle = torch.arange(FEATURES) * 2 * math.pi / FEATURES
    place = torch.rand(ROWS, 1, generator=g) * 2 * math.pi
    x = (torch.rand(ROWS, FEATURES, generator=g) < torch.sigmoid(5 * (place - angle).cos() - 2)).float()
    if not structured:
        x = x.gather(0, torch.rand(x.shape, generator=g).argsort(0))
    w = torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(FEATURES, 2, generator=g)
    return World({"directions": w, "features": x})


def truth(method: Method, result: Any, world: World) -> float:
    """Correlation of the arrangement with coactivations."""
    return float(result.controls["arrangement"])


def refusals(method: Method) -> list[Refusal]:
    """Other features than directions, NaN, a feature that is always there, no draws, a seed that is none."""
    x = _world(0, True).given["features"]
    always = x.clone()
    always[:, 3] = 1
    return [
        Refusal("other features", {"features": x[:, :-1]}, ShapeError, "features"),
        Refusal("a NaN", {"directions": torch.full((FEATURES, 2), torch.nan)}, NonFinite, "directions"),
        Refusal("a feature that is always there", {"features": always}, Degenerate, "feature 3"),
        Refusal("no draws", {"draws": 0}, UsageError, "draws"),
        Refusal("a negative seed", {"seed": -1}, UsageError, "seed"),
    ]

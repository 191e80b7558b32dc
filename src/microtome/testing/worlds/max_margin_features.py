"""Worlds of `max_margin_features`: the network that reaches the largest margin, with noise, and random weights."""

from typing import Any

import torch

from microtome.decompose.margins import addition_optimum
from microtome.errors import UsageError
from microtome.method import Method
from microtome.rng import torch_rng
from microtome.testing.case import Refusal, World
from microtome.testing.worlds.periodic_neurons import neurons, refused

PRIME = 7


def tiny(method: Method, seed: int) -> World:
    """Nearly optimal."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """Weights of the same sizes, drawn."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    g = torch_rng(seed, "nearly optimal")
    blocks = []
    for t in addition_optimum(PRIME, grid=6):
        noise = torch.randn(t.shape, generator=g, dtype=t.dtype)
        blocks.append(t + 0.02 * noise if structured else t.std() * noise)
    return World(dict(zip(("left", "right", "out"), blocks, strict=True)))


def truth(method: Method, result: Any, world: World) -> float:
    """Share of the largest margin."""
    return float(result.estimate.value)


def refusals(method: Method) -> list[Refusal]:
    """Blocks that do not fit, and a number that is no prime."""
    even = neurons(0, 4, 0).given["left"][:, :9]
    composite = Refusal("p = 9", dict.fromkeys(("left", "right", "out"), even), UsageError, "odd prime")
    return [*refused(_world(0, True).given["left"]), composite]

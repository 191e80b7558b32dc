"""Worlds of `sae_neural_operator`: functions on a circle that are sums of smooth kernels at random places."""

import math
from typing import Any

import torch

from microtome.errors import ShapeError, UsageError
from microtome.method import Method
from microtome.rng import torch_rng
from microtome.subject.recording import Recording
from microtome.testing.case import Refusal, World

ROWS, POINTS = 400, 32


def tiny(method: Method, seed: int) -> World:
    """A bump, an odd kernel and a ripple."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """Every point permuted over the rows by itself."""
    return _world(seed, False)


def kernels() -> torch.Tensor:
    """The three kernels [3, 32], of norm 1."""
    t = torch.remainder(torch.arange(POINTS) / POINTS + 0.5, 1) - 0.5
    bump = torch.exp(-((t / 0.09) ** 2))
    found = torch.stack([bump, t * bump, torch.cos(8 * math.pi * t) * bump])
    return found / found.norm(dim=1, keepdim=True)


def _world(seed: int, structured: bool) -> World:
    g = torch_rng(seed, "functions on a circle")
    codes = torch.rand(ROWS, 3, POINTS, generator=g) * (torch.rand(ROWS, 3, POINTS, generator=g) < 0.7 / POINTS)
    spread = torch.fft.rfft(codes + 0.5 * (codes > 0)) * torch.fft.rfft(kernels())
    x = torch.fft.irfft(spread.sum(1), POINTS) + 0.01 * torch.randn(ROWS, POINTS, generator=g)
    if not structured:
        x = x.gather(0, torch.rand(x.shape, generator=g).argsort(0))
    return World({"recording": Recording.of(x, site="x")}, {"kernels": kernels()})


def truth(method: Method, result: Any, world: World) -> float:
    """Mean best cosine of the kernels with those found, at any shift."""
    from microtome.decompose.functions import kernel_match

    return float(kernel_match(result.kernels, world.truth["kernels"]).mean())


def refusals(method: Method) -> list[Refusal]:
    """Sizes that are none or too large, two sites, a seed that is none."""
    x = _world(0, True).given["recording"].matrix()
    return [
        Refusal("no modes", {"modes": 0}, UsageError, "modes"),
        Refusal("more modes than the grid holds", {"modes": POINTS}, UsageError, "modes"),
        Refusal("a negative penalty", {"l1": -1.0}, UsageError, "l1"),
        Refusal("a negative lifting", {"lift": -1}, UsageError, "lift"),
        Refusal("two sites in one recording", {"recording": Recording.of({"a": x, "b": x})}, UsageError, "site"),
        Refusal("a negative seed", {"seed": -1}, UsageError, "seed"),
    ]


def strangers(method: Method) -> list[Refusal]:
    """A fitted dictionary takes no functions on another grid; `at` puts it there."""
    other = torch.zeros(2, POINTS + 1)
    return [Refusal("functions on another grid", {}, ShapeError, str(POINTS), lambda basis: basis.encode(other))]

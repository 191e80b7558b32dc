"""Worlds of `diffusion_pid`: four Gaussians, one word for each coordinate; or words that the denoiser never heard."""

from typing import Any

import torch

from microtome.errors import MicrotomeError, UsageError
from microtome.method import Method
from microtome.stimuli.mixtures import Mixture
from microtome.testing.case import Refusal, World


def tiny(method: Method, seed: int) -> World:
    """The first word tells the sign of the first unit, the second that of the second."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """The same pictures; every condition allows everything."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    mixture = Mixture(torch.tensor([[-2.0, -2.0], [-2.0, 2.0], [2.0, -2.0], [2.0, 2.0]]), 0.25)
    x, k = mixture.draw(24, seed)
    first, second = k[:, None] // 2 == torch.arange(4) // 2, k[:, None] % 2 == torch.arange(4) % 2
    prompts = (None, first, second, first & second) if structured else (None, None, None, None)
    return World({"denoiser": mixture, "x": x, "prompts": prompts})


def truth(method: Method, result: Any, world: World) -> float:
    """Share of the information that is unique to a word and stands in its own unit; 0 where there is none."""
    values = result.values.abs().mean(0)
    return float((values[1, 0] + values[2, 1]) / values.sum().clamp(min=1e-3))


def refusals(method: Method) -> list[Refusal]:
    """Too few prompts, wrong forms, sizes and seeds."""
    return [
        Refusal("three prompts", {"prompts": (None, None, None)}, UsageError, "four"),
        Refusal("an unknown form", {"form": "exact"}, UsageError, "orthogonal"),
        Refusal("no nodes", {"nodes": 0}, UsageError, "nodes"),
        Refusal("no pictures", {"x": torch.zeros(0, 2)}, MicrotomeError, "pictures"),
        Refusal("a negative seed", {"seed": -1}, UsageError, "seed"),
    ]

"""Worlds of `image_triplets`: images with two linked properties, each recorded at a site of its own."""

from typing import Any

import numpy as np
import torch

from microtome.attribute.triplets import difference, similarities
from microtome.errors import Degenerate, UsageError
from microtome.method import Method
from microtome.rng import torch_rng
from microtome.subject.recording import Recording
from microtome.testing.case import Refusal, World

IMAGES, UNITS = 120, 12


def tiny(method: Method, seed: int) -> World:
    """Sites that show the properties, with a little noise."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """Sites that show nothing."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    g = torch_rng(seed, "planted triplets")
    low = torch.randn(IMAGES, UNITS, generator=g)
    high = low + torch.randn(IMAGES, UNITS, generator=g)
    noise = torch.randn(2, IMAGES, UNITS, generator=g)
    seen = {"low": low, "high": high} if structured else {"low": noise[0], "high": noise[1]}
    recording = Recording.of({name: x + 0.05 * e for (name, x), e in zip(seen.items(), noise, strict=True)})
    return World({"recording": recording}, {"properties": (low, high)}, {"bins": 5})


def truth(method: Method, result: Any, world: World) -> float:
    """1 less the correlation of the differences in the properties themselves."""
    low, high = (difference(similarities(Recording.of(x), "correlation"), result.images) for x in world.truth["properties"])
    return 1.0 - abs(float(np.corrcoef(low, high)[0, 1]))


def refusals(method: Method) -> list[Refusal]:
    """Sites that are not there or the same, levels that cannot be told apart, sizes out of range."""
    x = torch.randn(30, 4, generator=torch_rng(0, "one level"))
    several = Recording.of({"low": x, "high": x + 1}, index={"sample": np.arange(30) // 2, "position": np.arange(30) % 2})
    return [
        Refusal("a misspelt site", {"low": "lwo"}, UsageError, "low"),
        Refusal("one site twice", {"low": "high"}, UsageError, "two levels"),
        Refusal("an unknown similarity", {"similarity": "euclid"}, UsageError, "cosine"),
        Refusal("levels that are the same", {"recording": Recording.of({"low": x, "high": 2 * x})}, Degenerate, "fewer bins"),
        Refusal("several rows per image", {"recording": several}, UsageError, "positions"),
        Refusal("fewer candidates than triplets", {"candidates": 10}, UsageError, "candidates"),
        Refusal("no bins", {"bins": 0}, UsageError, "bins"),
        Refusal("a negative seed", {"seed": -1}, UsageError, "seed"),
    ]

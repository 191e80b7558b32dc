"""Worlds of `feature_emergence`: three checkpoints, of which only the first is without the factors of four kinds of samples."""

from typing import Any

import numpy as np
import torch

from microtome.errors import Degenerate, UsageError
from microtome.method import Method
from microtome.rng import rng
from microtome.subject.basis import Linear
from microtome.subject.recording import Recording
from microtome.testing.case import Refusal, World

KINDS, SAMPLES, LENGTH, WIDTH, SITES = 4, 96, 4, 16, ("step 0", "step 10", "step 100")


def tiny(method: Method, seed: int) -> World:
    """From the second checkpoint on every kind has a factor of its own."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """No checkpoint has any."""
    return _world(seed, False)


def _fit(recording: Any, seed: int) -> Linear:
    """The four directions that the factors would have."""
    d = torch.kron(torch.eye(KINDS), torch.full((1, WIDTH // KINDS), (KINDS / WIDTH) ** 0.5))
    return Linear(str(recording.sites[0]), d.T, d, offset=0.01 * seed * torch.ones(WIDTH))


def _world(seed: int, structured: bool) -> World:
    draw = rng(seed, "checkpoints")
    kind = np.arange(SAMPLES) % KINDS
    d = np.kron(np.eye(KINDS), np.full((1, WIDTH // KINDS), (KINDS / WIDTH) ** 0.5))
    values = {}
    for i, site in enumerate(SITES):
        active = draw.random((SAMPLES, LENGTH, KINDS)) < 0.1 + 0.8 * np.eye(KINDS)[kind][:, None]
        x = (active * draw.uniform(0.5, 1.5, active.shape)).reshape(-1, KINDS) @ d
        values[site] = torch.from_numpy((x if structured and i else draw.permuted(x, axis=0)).astype(np.float32))
    labels = {f"kind {k}": np.repeat(kind == k, LENGTH) for k in range(KINDS)}
    index = {"sample": np.repeat(np.arange(SAMPLES), LENGTH)}
    recording = Recording.of(values, index=index, labels=labels)
    return World({"recording": recording}, {}, {"fit": _fit})


def truth(method: Method, result: Any, world: World) -> float:
    """Share of the kinds that emerge at the second checkpoint."""
    return float((result.table.drop_duplicates("property")["emerged_at"] == SITES[1]).mean())


def refusals(method: Method) -> list[Refusal]:
    """One site, categories that are not there or everywhere, options out of range, a seed that is none."""
    recording = _world(0, True).given["recording"]
    everywhere = recording.add_labels({"all": np.ones(len(recording), dtype=bool)})
    return [
        Refusal("one site", {"recording": recording[SITES[0]]}, UsageError, "two sites"),
        Refusal("a category that is not there", {"properties": ["knd 1"]}, UsageError, "kind 1"),
        Refusal("a category that is everywhere", {"recording": everywhere}, Degenerate, "all"),
        Refusal("a cut below chance", {"cut": 0.4}, UsageError, "cut"),
        Refusal("an unknown pooling", {"pooling": "sum"}, UsageError, "last"),
        Refusal("a negative seed", {"seed": -1}, UsageError, "seed"),
    ]

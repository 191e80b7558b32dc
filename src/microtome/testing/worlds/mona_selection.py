"""Worlds of `mona_selection`: samples of four kinds, each kind with a factor of its own, and a basis of the factors."""

from typing import Any

import numpy as np
import torch

from microtome.errors import SubjectMismatch, UsageError
from microtome.method import Method
from microtome.rng import rng
from microtome.subject.basis import Linear
from microtome.subject.recording import Recording
from microtome.testing.case import Refusal, World

KINDS, SAMPLES, LENGTH, FACTORS, WIDTH, TARGETS = 4, 80, 8, 8, 16, 5


def tiny(method: Method, seed: int) -> World:
    """The targets are of one kind."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """Every unit is permuted over the rows by itself: no kinds are left."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    draw = rng(seed, "kinds of samples")
    kind = np.arange(SAMPLES) % KINDS
    rate = np.full((SAMPLES, FACTORS), 0.2)
    rate[np.arange(SAMPLES), kind] = 0.8
    active = draw.random((SAMPLES, LENGTH, FACTORS)) < rate[:, None]
    codes = (active * draw.uniform(0.5, 1.5, active.shape)).reshape(-1, FACTORS)
    directions = np.kron(np.eye(FACTORS), np.full((1, WIDTH // FACTORS), (FACTORS / WIDTH) ** 0.5))
    x = codes @ directions
    x = x if structured else draw.permuted(x, axis=0)
    index = {"sample": np.repeat(np.arange(SAMPLES), LENGTH)}
    recording = Recording.of(torch.from_numpy(x.astype(np.float32)), site="x", index=index)
    d = torch.from_numpy(directions).float()
    targets = np.flatnonzero(kind == 0)[:TARGETS].tolist()
    return World({"recording": recording, "basis": Linear("x", d.T, d), "targets": targets}, {"kind": kind})


def truth(method: Method, result: Any, world: World) -> float:
    """Share of the chosen samples that are of the targets' kind."""
    return float((world.truth["kind"][result.table["sample"].to_numpy()] == 0).mean())


def refusals(method: Method) -> list[Refusal]:
    """Targets that are not there, shares and weights out of range, negative codes, two sites."""
    x = _world(0, True).given["recording"].matrix()
    d = torch.eye(WIDTH)
    return [
        Refusal("a target that is not there", {"targets": [0, 999]}, UsageError, "999"),
        Refusal("no targets", {"targets": []}, UsageError, "at least one"),
        Refusal("no pool", {"targets": range(SAMPLES)}, UsageError, "pool"),
        Refusal("a share above 1", {"share": 5.0}, UsageError, "share"),
        Refusal("an unknown pooling", {"pooling": "sum"}, UsageError, "last"),
        Refusal("an unknown metric", {"metric": "dot"}, UsageError, "cosine"),
        Refusal("negative codes", {"basis": Linear("x", -d, -d)}, UsageError, "negative"),
        Refusal("two sites in one recording", {"recording": Recording.of({"a": x, "b": x})}, UsageError, "site"),
    ]


def strangers(method: Method) -> list[Refusal]:
    """A basis of another site."""
    return [Refusal("a basis of another site", {"basis": Linear("y", torch.eye(WIDTH))}, SubjectMismatch, "y")]

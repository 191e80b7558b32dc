"""Worlds of `lmm_sae_interp`: images of nine places, six properties that each have a factor, and a basis of the factors."""

from typing import Any

import numpy as np
import torch

from microtome.errors import MicrotomeError, SubjectMismatch, UsageError
from microtome.method import Method
from microtome.rng import rng
from microtome.subject.basis import Linear
from microtome.subject.recording import Recording
from microtome.testing.case import Refusal, World

IMAGES, PLACES, FACTORS, WIDTH = 60, 9, 6, 12
NAMES = ("red", "green", "blue", "round", "square", "striped")


def tiny(method: Method, seed: int) -> World:
    """Factor i is active where property i is."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """Every unit is permuted over the rows by itself."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    draw = rng(seed, "images of places")
    active = draw.random((IMAGES * PLACES, FACTORS)) < 0.2
    codes = active * draw.uniform(0.5, 1.5, active.shape)
    directions = np.kron(np.eye(FACTORS), np.full((1, WIDTH // FACTORS), (FACTORS / WIDTH) ** 0.5))
    x = codes @ directions
    x = x if structured else draw.permuted(x, axis=0)
    index = {"sample": np.repeat(np.arange(IMAGES), PLACES)}
    labels = dict(zip(NAMES, active.T, strict=True))
    recording = Recording.of(torch.from_numpy(x.astype(np.float32)), site="x", index=index, labels=labels)
    d = torch.from_numpy(directions).float()
    return World({"recording": recording, "basis": Linear("x", d.T, d)}, {})


def truth(method: Method, result: Any, world: World) -> float:
    """Mean IoU of the latents that got their factor's name."""
    right = [NAMES[i] == name for i, name in zip(result.table["latent"], result.table["explanation"], strict=True)]
    return float((np.array(right) * result.table["iou"].to_numpy()).mean())


def refusals(method: Method) -> list[Refusal]:
    """No labels, an explainer that names what is not there, sizes out of range, two sites."""
    recording = _world(0, True).given["recording"]
    x = recording.matrix()
    bare = Recording.of(x, site="x", index={"sample": recording.index["sample"].tolist()})
    two = Recording.of({"a": x, "b": x}, labels={"red": recording.labels("red")})
    return [
        Refusal("no labels", {"recording": bare}, UsageError, "labels"),
        Refusal("a name that is no property", {"explain": lambda recording, rows: "purple"}, UsageError, "purple"),
        Refusal("a latent that is not there", {"latents": [99]}, UsageError, "0..5"),
        Refusal("a level above 1", {"level": 2.0}, UsageError, "level"),
        Refusal("no images to explain from", {"top": 0}, UsageError, "top"),
        Refusal("two sites in one recording", {"recording": two}, MicrotomeError, "site"),
    ]


def strangers(method: Method) -> list[Refusal]:
    """A basis of another site."""
    return [Refusal("a basis of another site", {"basis": Linear("y", torch.eye(WIDTH))}, SubjectMismatch, "y")]

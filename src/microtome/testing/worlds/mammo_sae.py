"""Worlds of `mammo_sae`: samples of four places, a label that is one of six factors, and a basis of the factors."""

from typing import Any

import torch

from microtome.errors import Degenerate, SubjectMismatch, UsageError
from microtome.method import Method
from microtome.subject.basis import Linear
from microtome.subject.recording import Recording
from microtome.testing.case import Refusal, World
from microtome.testing.planted import PROPERTY, WIDTH, planted_recording


def tiny(method: Method, seed: int) -> World:
    """The label marks the places where the first factor is active."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """The values have nothing to do with the label."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    planted = planted_recording(seed, structured=structured)
    directions = torch.from_numpy(planted.directions).float()
    basis = Linear("x", directions.T, directions, name="planted")
    return World({"recording": planted.recording, "basis": basis, "label": PROPERTY}, {"planted": planted})


def truth(method: Method, result: Any, world: World) -> float:
    """Pointing accuracy of the first factor's latent, where it comes first and the finding is supported."""
    first = result.table.iloc[0]
    return float(first["pointing"]) if result.verdict == "supported" and first["latent"] == 0 else 0.0


def refusals(method: Method) -> list[Refusal]:
    """Properties that are not there or everywhere, sizes that are none, two sites."""
    planted = planted_recording(0)
    x = planted.recording.matrix()
    one = planted.recording.add_labels({PROPERTY: planted.labels | True})
    return [
        Refusal("an unknown property", {"label": "plnted"}, UsageError, PROPERTY),
        Refusal("a label that all images have", {"recording": one}, Degenerate, "without"),
        Refusal("more latents than there are", {"top": 99}, UsageError, "top"),
        Refusal("no draws", {"draws": 0}, UsageError, "draws"),
        Refusal("two sites in one recording", {"recording": Recording.of({"a": x, "b": x})}, UsageError, "site"),
    ]


def strangers(method: Method) -> list[Refusal]:
    """A basis of another site."""
    return [Refusal("a basis of another site", {"basis": Linear("y", torch.eye(WIDTH))}, SubjectMismatch, "y")]

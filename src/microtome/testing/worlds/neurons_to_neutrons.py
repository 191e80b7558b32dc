"""Worlds of `neurons_to_neutrons`: rows that are made of factors, three of which are the terms."""

from typing import Any

import numpy as np

from microtome.errors import Degenerate, NonFinite, ShapeError, UsageError
from microtome.method import Method
from microtome.subject.recording import Recording
from microtome.testing.case import Refusal, World
from microtome.testing.planted import planted_recording


def tiny(method: Method, seed: int) -> World:
    """The terms are the activations of the first three factors."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """The same terms beside rows that have nothing to do with them."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    planted = planted_recording(seed, structured=structured)
    terms = {f"factor {i}": planted.activations[:, i] for i in range(3)}
    return World({"recording": planted.recording, "terms": terms})


def truth(method: Method, result: Any, world: World) -> float:
    """Mean R2 of the terms."""
    return float(result.estimate.value)


def refusals(method: Method) -> list[Refusal]:
    """Terms that do not fit, are sums or constants, sizes out of range."""
    planted = planted_recording(0)
    x, a = planted.recording.matrix(), planted.activations
    bad = a[:, 0].copy()
    bad[3] = np.nan
    return [
        Refusal("one term", {"terms": {"a": a[:, 0]}}, UsageError, "two terms"),
        Refusal("a term of other rows", {"terms": {"a": a[:, 0], "b": a[1:, 1]}}, ShapeError, "'b'"),
        Refusal("a NaN term", {"terms": {"a": a[:, 1], "b": bad}}, NonFinite, "'b'"),
        Refusal("a constant term", {"terms": {"a": a[:, 1], "b": 0 * a[:, 0]}}, Degenerate, "'b'"),
        Refusal("a term that is a sum", {"terms": {"a": a[:, 0], "b": a[:, 1], "c": a[:, 0] + a[:, 1]}}, Degenerate, "sum"),
        Refusal("one fold", {"folds": 1}, Degenerate, "folds"),
        Refusal("more components than units", {"components": 99}, UsageError, "components"),
        Refusal("two sites in one recording", {"recording": Recording.of({"a": x, "b": x})}, UsageError, "site"),
        Refusal("a negative seed", {"seed": -1}, UsageError, "seed"),
    ]


def strangers(method: Method) -> list[Refusal]:
    """Terms are the user's own numbers: only their count can be wrong."""
    return []

"""Worlds of `task_nonlinearity_geometry`: eight conditions, of which the site holds two bits and the inputs all."""

from typing import Any

import numpy as np
import torch

from microtome.errors import Degenerate, NonFinite, ShapeError, UsageError
from microtome.method import Method
from microtome.rng import rng
from microtome.subject.recording import Recording
from microtome.testing.case import Refusal, World

ROWS, WIDTH, BITS = 120, 6, ("bit0", "bit1", "bit2")


def tiny(method: Method, seed: int) -> World:
    """Two bits along two units."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """Every unit is permuted over the rows by itself."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    draw = rng(seed, "conditions")
    bits = (draw.permutation(ROWS)[:, None] % 8 >> np.arange(3)) & 1
    inputs = draw.normal(size=(8, 20))[bits @ [1, 2, 4]] + 0.3 * draw.normal(size=(ROWS, 20))
    x = 0.1 * draw.normal(size=(ROWS, WIDTH))
    x[:, :2] += bits[:, :2]
    x = x if structured else draw.permuted(x, axis=0)
    labels = {name: bits[:, k] == 1 for k, name in enumerate(BITS)}
    recording = Recording.of(torch.from_numpy(x.astype(np.float32)), site="x", labels=labels)
    return World({"recording": recording, "inputs": torch.from_numpy(inputs), "targets": list(BITS[:2])})


def truth(method: Method, result: Any, world: World) -> float:
    """Alignment with the targets."""
    return float(result.controls["like_targets"])


def refusals(method: Method) -> list[Refusal]:
    """Targets that are not there, other inputs, one variable, one that does not vary."""
    given = _world(0, True).given
    recording, inputs = given["recording"], given["inputs"]
    bit = recording.labels("bit0")
    alone = Recording.of(recording.matrix(), site="x", labels={"bit0": bit})
    return [
        Refusal("an unknown target", {"targets": ["bit7"]}, UsageError, "bit0"),
        Refusal("no target", {"targets": []}, UsageError, "targets"),
        Refusal("inputs of other rows", {"inputs": inputs[:-1]}, ShapeError, "119"),
        Refusal("inputs of NaN", {"inputs": torch.full_like(inputs, torch.nan)}, NonFinite, "inputs"),
        Refusal("one variable", {"recording": alone, "targets": ["bit0"]}, Degenerate, "two variables"),
        Refusal("a constant variable", {"recording": recording.add_labels({"all": bit | True})}, Degenerate, "all"),
        Refusal("no draws", {"draws": 0}, UsageError, "draws"),
        Refusal("a negative seed", {"seed": -1}, UsageError, "seed"),
    ]

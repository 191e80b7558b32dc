"""Worlds of `unit_trees`: a property that is two units together."""

from typing import Any

import numpy as np
import torch

from microtome.errors import Degenerate, UsageError
from microtome.method import Method
from microtome.rng import rng
from microtome.subject.recording import Recording
from microtome.testing.case import Refusal, World
from microtome.testing.families.labelled import label_refusals

ROWS, UNITS, BOTH = 2000, 6, (2, 5)


def tiny(method: Method, seed: int) -> World:
    """Two of six units, on together."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """As many rows marked, none of the units' doing."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    stream = rng(seed, "tree world")
    x = np.maximum(stream.normal(size=(ROWS, UNITS)), 0)  # codes of a dictionary: half of them 0
    label = (x[:, BOTH] > 0.2).all(1)
    label = label if structured else stream.permutation(label)
    return World({"recording": Recording.of(torch.tensor(x), site="codes", labels={"both": label})})


def truth(method: Method, result: Any, world: World) -> float:
    """Held-out F1 of the tree, where it asks the two units."""
    table = result.table
    return float(table["f1"].iloc[0]) * float(set(table["index"]) == set(BOTH))


def refusals(method: Method) -> list[Refusal]:
    """No question, no draw, a property that is not there or hardly ever."""
    recording = _world(0, True).given["recording"]
    rare = recording.add_labels({"both": np.arange(ROWS) == 3})
    return [
        *label_refusals(method),
        Refusal("no question", {"depth": 0}, UsageError, "depth"),
        Refusal("no draw", {"draws": 0}, UsageError, "draws"),
        Refusal("an unknown property", {"properties": ["bth"]}, UsageError, "both"),
        Refusal("a property of one row", {"recording": rare}, Degenerate, "rows"),
    ]

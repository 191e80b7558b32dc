"""Worlds of `representation_bias`: a property with much variance, one with little, both readable."""

from typing import Any

import numpy as np
import torch

from microtome.errors import Degenerate, UsageError
from microtome.method import Method
from microtome.rng import rng
from microtome.subject.recording import Recording
from microtome.testing.case import Refusal, World

ROWS, WIDTH = 240, 8


def tiny(method: Method, seed: int) -> World:
    """One unit each."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """Every unit is permuted over the rows by itself."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    draw = rng(seed, "easy and hard")
    easy, hard = draw.random((2, ROWS)) < 0.5
    x = 0.5 * draw.normal(size=(ROWS, WIDTH))
    x[:, 0] += 5 * easy
    x[:, 1] += 2 * hard
    x = x if structured else draw.permuted(x, axis=0)
    index = {"sample": np.arange(ROWS) // 2}
    labels = {"hard": hard, "easy": easy}
    return World({"recording": Recording.of(torch.from_numpy(x.astype(np.float32)), site="x", index=index, labels=labels)})


def truth(method: Method, result: Any, world: World) -> float:
    """How surely both are read, times 1 where the easy one is first: 1 when all is found."""
    table = result.table
    first = float(table["property"][0] == "easy" and table["variance"][0] > 0.3)
    return first * float(2 * table["auroc"].min() - 1)


def refusals(method: Method) -> list[Refusal]:
    """Properties that are not there, one only, everywhere; two sites; no draws; a seed that is none."""
    recording = _world(0, True).given["recording"]
    x, always = recording.matrix(), np.ones(ROWS, dtype=bool)
    return [
        Refusal("an unknown property", {"properties": ["easy", "hart"]}, UsageError, "hard"),
        Refusal("one property", {"properties": ["easy"]}, UsageError, "two properties"),
        Refusal("a property everywhere", {"recording": recording.add_labels({"always": always})}, Degenerate, "always"),
        Refusal("two sites", {"recording": Recording.of({"a": x, "b": x}, labels={"p": always})}, UsageError, "site|propert"),
        Refusal("no draws", {"draws": 0}, UsageError, "draws"),
        Refusal("a negative seed", {"seed": -1}, UsageError, "seed"),
    ]

"""Worlds of `population_test`: 24 models, one feature that follows the outcome and one that does not."""

from typing import Any

import numpy as np

from microtome.errors import Degenerate, NonFinite, ShapeError, UsageError
from microtome.method import Method
from microtome.rng import rng
from microtome.testing.case import Refusal, World
from microtome.testing.families.networks import network_refusals

MODELS = 24


def tiny(method: Method, seed: int) -> World:
    """The first feature is the outcome with noise."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """Both features are noise."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    stream = rng(seed, "population world")
    outcomes = stream.permutation(np.arange(MODELS) % 2 == 0)
    features = stream.normal(size=(MODELS, 2))
    features[:, 0] = (3.0 * structured) * outcomes + 0.5 * features[:, 0]
    return World({"features": features, "outcomes": outcomes})


def truth(method: Method, result: Any, world: World) -> float:
    """The cross-validated AUROC."""
    return result.estimate.value


def refusals(method: Method) -> list[Refusal]:
    """NaN, other lengths, one outcome only, unknown outcomes."""
    given = _world(0, True).given
    bad = given["features"].copy()
    bad[0, 0] = np.nan
    return [
        *network_refusals(method),
        Refusal("a NaN feature", {"features": bad}, NonFinite, "NaN"),
        Refusal("a model too few", {"features": given["features"][1:]}, ShapeError, "outcomes"),
        Refusal("one outcome only", {"outcomes": np.ones(MODELS)}, Degenerate, "outcome"),
        Refusal("an outcome that is none", {"outcomes": np.arange(MODELS)}, UsageError, "True or False"),
        Refusal("strata of another length", {"strata": [0, 1]}, ShapeError, "stratum"),
        Refusal("one fold", {"folds": 1}, UsageError, "folds"),
    ]

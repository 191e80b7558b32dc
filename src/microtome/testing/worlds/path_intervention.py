"""Worlds of `path_intervention`: one path of filters makes the class."""

from typing import Any

import numpy as np

from microtome.errors import SiteError, UsageError
from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.families.networks import network_refusals
from microtome.testing.families.tables import ranked
from microtome.testing.planted_filters import planted_filters


def tiny(method: Method, seed: int) -> World:
    """Two planted connections."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """Freshly drawn weights."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    case = planted_filters(seed, structured=structured)
    return World({"subject": case.subject, "task": case.task}, {"path": case.path})


def truth(method: Method, result: Any, world: World) -> float:
    """AUROC of the effects for the planted connections, less when they were not kept."""
    rows = result.table[["layer", "parent", "child"]].values.tolist()
    planted = np.array([row in world.truth["path"] for row in rows])
    kept = result.table["kept"].to_numpy()
    return ranked(result.table, planted, signed=True) * float((kept & planted).sum() + 1) / (len(world.truth["path"]) + 1)


def refusals(method: Method) -> list[Refusal]:
    """Layers that are no convolutions or do not follow one another, and no twins."""
    return [
        *network_refusals(method),
        Refusal("a layer that is no convolution", {"layers": ["6"]}, SiteError, "convolution"),
        Refusal("layers in the wrong order", {"layers": ["2", "0"]}, SiteError, "follow"),
        Refusal("no twins", {"twins": 0}, UsageError, "twins"),
        Refusal("an unknown metric", {"metric": "logit_diference"}, UsageError, "logit_difference"),
    ]

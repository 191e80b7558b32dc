"""Worlds of `dissociation`: two tasks, each done by a head of its own."""

from dataclasses import replace
from typing import Any

import numpy as np

from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.families.networks import network_refusals
from microtome.testing.families.tables import ranked
from microtome.testing.planted_pair import planted_pair


def tiny(method: Method, seed: int) -> World:
    """Two planted heads and their tasks."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """The same tasks on freshly drawn weights."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    pair = planted_pair(seed, structured=structured)
    return World({"subject": pair.subject, "task": pair.task, "other": pair.other}, {"heads": pair.heads})


def truth(method: Method, result: Any, world: World) -> float:
    """AUROC of the absolute selectivity for the two planted heads, less where their sets dissociate by less than a half."""
    found = ranked(result.table, np.isin(result.table["node"], world.truth["heads"]))
    return found * min(1.0, max(0.0, 2 * result.estimate.value))


def refusals(method: Method) -> list[Refusal]:
    """Unknown nodes and options, sets that overlap, one group of prompts."""
    pair = planted_pair(0)
    alone = replace(pair.other, groups=[0] * len(pair.other))
    shorter = replace(pair.other, corrupt=pair.other.corrupt[:, :-1])  # type: ignore[call-overload]
    return [
        *network_refusals(method),
        Refusal("a misspelt kind of nodes", {"nodes": "heads"}, UsageError, "head"),
        Refusal("an unknown ablation", {"ablation": "means"}, UsageError, "ablation"),
        Refusal("sets that overlap", {"size": 5}, UsageError, "half of the 8"),
        Refusal("no random sets", {"draws": 0}, UsageError, "draws"),
        Refusal("one group of prompts", {"other": alone}, Degenerate, "group"),
        Refusal("pairs of unequal length", {"other": shorter}, ShapeError, "equal length"),
    ]

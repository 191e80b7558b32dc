"""Worlds of `attention_transplant`: a head that looks at keys is drawn away by other keys."""

from dataclasses import replace
from typing import Any

import numpy as np

from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.families.networks import network_refusals
from microtome.testing.families.tables import ranked
from microtome.testing.planted_look import planted_look


def tiny(method: Method, seed: int) -> World:
    """The planted head, and prompts with distracting keys."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """Freshly drawn weights."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    net = planted_look(seed, structured=structured)
    head = f"a{net.block}.h{net.head}"
    return World({"subject": net.subject, "task": net.task, "heads": [head]}, {"head": head})


def truth(method: Method, result: Any, world: World) -> float:
    """AUROC of the gains for the planted head, less where it repairs little."""
    found = ranked(result.table, np.asarray(result.table["node"] == world.truth["head"]), signed=True)
    return found * min(1.0, max(0.0, 4 * result.estimate.value))


def refusals(method: Method) -> list[Refusal]:
    """Nodes that are no heads, too many of them, pairs that do not correspond."""
    task = planted_look(0).task
    shorter = replace(task, corrupt=task.corrupt[:, :-1])  # type: ignore[call-overload]
    return [
        *network_refusals(method),
        Refusal("no head", {"heads": ["m0"]}, UsageError, "no heads"),
        Refusal("none", {"heads": []}, UsageError, "no nodes"),
        Refusal("most of the heads", {"heads": [f"a0.h{i}" for i in range(4)] + ["a1.h0"]}, Degenerate, "too few"),
        Refusal("no draws", {"draws": 0}, UsageError, "draws"),
        Refusal("pairs of unequal length", {"task": shorter}, ShapeError, "equal length"),
    ]

"""Worlds of `low_rank_heads`: the planted network; it takes no corrupt inputs, and gives one number for a set of heads."""

from dataclasses import replace
from typing import Any

from microtome.errors import Degenerate, MicrotomeError, ShapeError, UsageError
from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.families.networks import network_refusals, network_world


def tiny(method: Method, seed: int) -> World:
    """The planted network and its task."""
    return network_world(seed)


def null(method: Method, seed: int) -> World:
    """Freshly drawn weights."""
    return network_world(seed, structured=False)


def truth(method: Method, result: Any, world: World) -> float:
    """How much more the leading directions keep than random ones."""
    return result.estimate.value - float(result.table["random"].iloc[0])


def refusals(method: Method) -> list[Refusal]:
    """Ranks, nodes and roles that do not fit; one group of prompts; pairs that do not correspond."""
    task = tiny(method, 0).given["task"]
    return [
        *network_refusals(method),
        Refusal("a rank above the width of a head", {"ranks": (9,)}, UsageError, "1..8"),
        Refusal("an MLP", {"nodes": ["m0"]}, UsageError, "no head"),
        Refusal("a head that is not there", {"nodes": ["a0.h9"]}, MicrotomeError, "9"),
        Refusal("an unknown role", {"keys": ["label"]}, UsageError, "label"),
        Refusal("no draws", {"draws": 0}, UsageError, "draws"),
        Refusal("one group of prompts", {"task": replace(task, groups=[0] * len(task))}, Degenerate, "group"),
        Refusal("pairs of unequal length", {"task": replace(task, corrupt=task.corrupt[:, :-1])}, ShapeError, "equal length"),
    ]

"""Worlds of `binding_vectors`: the planted network; it binds nothing, so only the form of the result is judged."""

from dataclasses import replace
from typing import Any

from microtome.errors import Degenerate, ShapeError, UsageError
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
    """Share of prompts that are exchanged."""
    return result.estimate.value


def refusals(method: Method) -> list[Refusal]:
    """Roles that are not two, or not there; one group; pairs that do not correspond."""
    task = tiny(method, 0).given["task"]
    return [
        *network_refusals(method),
        Refusal("three entities", {"entities": ("key", "end", "key")}, UsageError, "two roles"),
        Refusal("an unknown role", {"attributes": ("key", "colour")}, UsageError, "colour"),
        Refusal("no draws", {"draws": 0}, UsageError, "draws"),
        Refusal("one group of prompts", {"task": replace(task, groups=[0] * len(task))}, Degenerate, "group"),
        Refusal("pairs of unequal length", {"task": replace(task, corrupt=task.corrupt[:, :-1])}, ShapeError, "equal length"),
    ]

"""Worlds of `sparse_feature_circuits`: the planted network and its task."""

from typing import Any

from microtome.errors import UsageError
from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.worlds import graphs

strangers = graphs.strange_bases


def tiny(_method: Method, seed: int) -> World:
    """A planted head."""
    return graphs.task_world(seed)


def null(_method: Method, seed: int) -> World:
    """The same task on freshly drawn weights."""
    return graphs.task_world(seed, structured=False)


def truth(_method: Method, result: Any, world: World) -> float:
    """Share of the coordinates' effects in the planted directions."""
    return graphs.answer_share(result, world)


def refusals(method: Method) -> list[Refusal]:
    """Tasks and bases that do not fit; options out of range."""
    return [*graphs.task_refusals(method), Refusal("no steps", {"steps": 0}, UsageError, "steps")]

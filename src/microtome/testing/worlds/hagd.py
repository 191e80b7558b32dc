"""Worlds of `hagd`: the planted network and its task."""

from typing import Any

from microtome.errors import UsageError
from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.planted_network import ANSWER, KEYS
from microtome.testing.worlds import graphs, output_nodes

strangers = graphs.strange_bases


def tiny(_method: Method, seed: int) -> World:
    """A planted head, its output's units as coordinates."""
    return graphs.task_world(seed)


def null(method: Method, seed: int) -> World:
    """The task on freshly drawn weights, in the order in which they do it better on clean inputs."""
    given = output_nodes.null(method, seed).given
    return World({**graphs.task_world(seed, structured=False).given, **given})


def truth(_method: Method, result: Any, _world: World) -> float:
    """Share of the circuit in the planted directions of the answer."""
    return sum(ANSWER <= n.unit < ANSWER + KEYS for n in result.nodes) / len(result)


def refusals(method: Method) -> list[Refusal]:
    """Tasks and bases that do not fit; options out of range."""
    return [*graphs.task_refusals(method), Refusal("a share of 0", {"share": 0.0}, UsageError, "share"),
            Refusal("a budget above 1", {"budget": 1.5}, UsageError, "budget")]  # fmt: skip

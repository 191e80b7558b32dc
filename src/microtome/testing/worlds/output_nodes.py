"""Worlds of `output_nodes`: the planted head alone writes the answer."""

from dataclasses import replace
from typing import Any

from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.planted_network import planted_network


def tiny(method: Method, seed: int) -> World:
    """The planted network and its task."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """The task on freshly drawn weights, in the order in which they do it better on clean inputs."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    planted = planted_network(seed, structured=structured)
    task, subject = planted.task, planted.subject
    bound = subject.bind(task)
    clean, corrupt = (
        float(bound.metric(subject.run(x, logits="last").logits[:, 0]).mean()) for x in (bound.inputs, bound.corrupt)
    )
    if clean < corrupt:
        task = replace(task, clean=task.corrupt, corrupt=task.clean)
    return World({"subject": subject, "task": task}, {"planted": planted})


def truth(method: Method, result: Any, world: World) -> float:
    """One over the number of nodes if the planted head is the one of largest effect, else 0."""
    planted = world.truth["planted"]
    best = max(result.nodes, key=lambda n: abs(result.scores[n.short]))
    return ((best.layer, best.head) == (planted.block, planted.head)) / len(result)


def refusals(method: Method) -> list[Refusal]:
    """A share out of range, pairs that do not correspond, a corruption that changes nothing."""
    task = tiny(method, 0).given["task"]
    return [
        Refusal("a share of 0", {"share": 0.0}, UsageError, "share"),
        Refusal("pairs of unequal length", {"task": replace(task, corrupt=task.corrupt[:, :-1])}, ShapeError, "equal length"),
        Refusal(
            "a corruption that changes nothing", {"task": replace(task, corrupt=task.clean.clone())}, Degenerate, "corruption"
        ),
    ]

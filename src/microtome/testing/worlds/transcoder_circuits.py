"""Worlds of `transcoder_circuits`: one prompt of the planted network."""

from typing import Any

from microtome.errors import UsageError
from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.worlds import graphs

strangers = graphs.strange_bases


def tiny(_method: Method, seed: int) -> World:
    """A planted head."""
    return graphs.prompt_world(seed)


def null(_method: Method, seed: int) -> World:
    """The same prompt on freshly drawn weights."""
    return graphs.prompt_world(seed, structured=False)


def truth(_method: Method, result: Any, world: World) -> float:
    """Share of the tokens' effects that the planted position has."""
    return graphs.key_share(result, world)


def refusals(method: Method) -> list[Refusal]:
    """Prompts, bases and targets that do not fit; options out of range."""
    return [*graphs.prompt_refusals(method), Refusal("no breadth", {"breadth": 0}, UsageError, "breadth")]

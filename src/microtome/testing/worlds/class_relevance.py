"""Worlds of `class_relevance`: the planted network, whose last token holds the answer in the end."""

from typing import Any

from microtome.method import Method
from microtome.testing.case import World
from microtome.testing.worlds.attention_rollout import null, tiny

__all__ = ["null", "tiny", "truth"]


def truth(method: Method, result: Any, world: World) -> float:
    """Share of prompts whose largest value stands at the last token."""
    return float((result.values.argmax(1) == result.values.shape[1] - 1).double().mean())

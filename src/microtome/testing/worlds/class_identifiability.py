"""Worlds of `class_identifiability`: the planted network, whose last token holds the answer in the end."""

from typing import Any

from microtome.method import Method
from microtome.testing.case import World
from microtome.testing.worlds.attention_rollout import null, tiny

__all__ = ["null", "tiny", "truth"]


def truth(method: Method, result: Any, world: World) -> float:
    """Identifiability of the answer at the token that is read, in the end."""
    return float(result.estimate.value)

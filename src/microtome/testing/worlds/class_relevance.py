"""Worlds of `class_relevance`: the planted network, whose last token holds the answer in the end."""

from typing import Any

import torch

from microtome.method import Method
from microtome.testing.case import World
from microtome.testing.worlds.attention_rollout import null, tiny

__all__ = ["null", "tiny", "truth"]


def truth(method: Method, result: Any, world: World) -> float:
    """Share of prompts whose largest value stands at the last token; the key itself, which may look at itself, is left out."""
    values = result.values.clone()
    values[:, world.truth["planted"].position] = -torch.inf
    return float((values.argmax(1) == values.shape[1] - 1).double().mean())

"""Worlds of `circuit_overlap`: effects of twenty nodes on two tasks, four of them strong in both."""

from dataclasses import replace
from typing import Any

import numpy as np

from microtome.errors import SubjectMismatch, UsageError
from microtome.method import Method
from microtome.rng import rng
from microtome.testing.case import Refusal, World
from microtome.testing.families.networks import network_refusals
from microtome.trace.effects import Effects
from microtome.trace.nodes import Node

NODES, STRONG, PROMPTS = 20, 4, 24


def tiny(method: Method, seed: int) -> World:
    """The same strong nodes in both tasks."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """Strong nodes of their own in each task."""
    return _world(seed, False)


def _world(seed: int, shared: bool) -> World:
    stream = rng(seed, "overlap world")
    strong = [stream.permutation(NODES)[:STRONG] for _ in range(2)]
    first, second = (_effects(stream, strong[0] if shared else s, name) for s, name in zip(strong, ("one", "two")))
    return World({"first": first, "second": second}, {}, {"sizes": [2, 4]})


def _effects(stream: np.random.Generator, strong: np.ndarray, name: str) -> Effects:
    change = 0.05 * stream.normal(size=(NODES, PROMPTS))
    change[strong] += 0.5
    nodes = [Node(f"blocks.{i // 4}.attn.z", head=i % 4) for i in range(NODES)]
    return Effects(nodes, change, np.ones(PROMPTS), np.arange(PROMPTS), "planted", "logits", name, "subject", True, 1.0)


def truth(method: Method, result: Any, world: World) -> float:
    """Overlap of the four strongest nodes."""
    return float(result.table.set_index("size").loc[STRONG, "overlap"])


def refusals(method: Method) -> list[Refusal]:
    """Other nodes, sizes out of range, no draws."""
    second = tiny(method, 0).given["second"]
    fewer = replace(second, nodes=second.nodes[1:], change=second.change[1:])
    return [
        *network_refusals(method),
        Refusal("other nodes", {"second": fewer}, UsageError, "same nodes"),
        Refusal("a size too large", {"sizes": [21]}, UsageError, "20"),
        Refusal("no draws", {"draws": 0}, UsageError, "draws"),
    ]


def strangers(method: Method) -> list[Refusal]:
    """Effects on another subject."""
    other = replace(tiny(method, 0).given["second"], subject="another")
    return [Refusal("effects on another subject", {"second": other}, SubjectMismatch, "two subjects")]

"""Worlds of `attention_rollout`: all heads of the planted block look where the planted one does.

One head of four is not enough for this method: what is rolled out through a causal network gathers at the first positions.
"""

from typing import Any

import torch

from microtome.method import Method
from microtome.testing.case import World
from microtome.testing.families.networks import network_world
from microtome.testing.planted_network import D_HEAD, D_MODEL, HEADS, LENGTH, PLACE


def tiny(method: Method, seed: int) -> World:
    """A network in which one head copies one token to the answer, and the others of its block look there too."""
    world = network_world(seed)
    planted = world.truth["planted"]
    weight = planted.subject.module.transformer.h[planted.block].attn.c_attn.weight
    with torch.no_grad():
        for head in set(range(HEADS)) - {planted.head}:
            weight[PLACE + LENGTH - 1, head * D_HEAD] += 1.5
            weight[PLACE + planted.position, D_MODEL + head * D_HEAD] += 1.5
    return world


def null(method: Method, seed: int) -> World:
    """Freshly drawn weights."""
    return network_world(seed, structured=False)


def truth(method: Method, result: Any, world: World) -> float:
    """Share of prompts whose largest value before the last position stands at the planted one."""
    earlier = result.values[:, :-1]
    return float((earlier.argmax(1) == world.truth["planted"].position).double().mean())

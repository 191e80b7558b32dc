"""Worlds of maps that give the position that is read a share of its own: the planted network, judged at all others."""

from typing import Any

from microtome.method import Method
from microtome.testing.case import World
from microtome.testing.families.networks import network_world


def tiny(method: Method, seed: int) -> World:
    """A network in which one head copies one token to the answer."""
    return network_world(seed)


def null(method: Method, seed: int) -> World:
    """Freshly drawn weights."""
    return network_world(seed, structured=False)


def truth(method: Method, result: Any, world: World) -> float:
    """Share of prompts whose largest value before the last position stands at the planted one."""
    earlier = result.values[:, :-1]
    return float((earlier.argmax(1) == world.truth["planted"].position).double().mean())

"""Worlds of `span_patching`: the planted network, with a filler token as a role beside the key."""

from dataclasses import replace
from typing import Any

from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.families.networks import network_refusals, network_world
from microtome.testing.families.tables import ranked


def tiny(method: Method, seed: int) -> World:
    """The planted network with two roles."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """Freshly drawn weights: every role that differs has some effect, and only the key differs."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    world = network_world(seed, structured=structured)
    task, planted = world.given["task"], world.truth["planted"]
    other = (planted.position + 1) % 4
    if not structured:  # every token differs, so that no role is special by itself
        mixed = task.corrupt.roll(1, 0)
        mixed[:, planted.position] = task.corrupt[:, planted.position]
        task = replace(task, corrupt=mixed)
    task = replace(task, roles={**task.roles, "filler": [(other, other + 1)] * len(task)})
    return World({**world.given, "task": task}, world.truth, world.settings)


def truth(method: Method, result: Any, world: World) -> float:
    """1 less the distance of the key's effect from 1, where the key's is the largest."""
    table = result.table
    best = ranked(table, (table["node"] == "key").to_numpy())
    return best * max(0.0, 1.0 - abs(1.0 - float(table.set_index("node").loc["key", "effect"])))


def refusals(method: Method) -> list[Refusal]:
    """Roles that are not there; pairs that do not correspond; a corruption that changes nothing."""
    task = tiny(method, 0).given["task"]
    return [
        *network_refusals(method),
        Refusal("an unknown role", {"roles": ["keys"]}, UsageError, "keys"),
        Refusal("no roles", {"roles": []}, UsageError, "roles"),
        Refusal("pairs of unequal length", {"task": replace(task, corrupt=task.corrupt[:, :-1])}, ShapeError, "equal length"),
        Refusal("a corruption that changes nothing", {"task": replace(task, corrupt=task.clean)}, Degenerate, "corruption"),
    ]

"""Worlds of `class_unit_maps`: those of `class_units`, with the units that were fitted."""

from dataclasses import replace
from typing import Any

from microtome.errors import SubjectMismatch, UsageError
from microtome.evidence import Finding
from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.worlds import class_units as colours


def tiny(method: Method, seed: int) -> World:
    """Planted channels and their fit."""
    return _fitted(colours.tiny(method, seed))


def null(method: Method, seed: int) -> World:
    """Drawn weights and their fit."""
    return _fitted(colours.null(method, seed))


def _fitted(world: World) -> World:
    from microtome.attribute.class_units import class_units

    units = class_units(world.given["subject"], world.given["task"], mu=0.8, steps=100, draws=1)
    return replace(world, given={**world.given, "units": units}, truth={**world.truth, "part": _first}, settings={})


def _first(world: World, n: int) -> World:
    return replace(world, given={**world.given, "task": world.given["task"][:n]})


def truth(method: Method, result: Any, world: World) -> float:
    """Share of pictures whose map is strongest in the colour of their class."""
    strength = result.values.abs().flatten(2).sum(2)
    return float((strength.argmax(1) == world.truth["planted"].task.answers).double().mean())


def refusals(method: Method) -> list[Refusal]:
    """Nothing to send back, and a finding of something else."""
    return [
        Refusal("no channels", {"top": 0}, UsageError, "top"),
        Refusal("a finding without channels", {"units": Finding("something else")}, UsageError, "class_units"),
    ]


def strangers(method: Method) -> list[Refusal]:
    """Units of another network."""
    return [Refusal("units of another subject", {"units": tiny(method, 1).given["units"]}, SubjectMismatch)]

"""Worlds of `grok_corrupted`: half of the neurons are waves, half know answers by heart."""

from typing import Any

from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.planted import auroc
from microtome.testing.worlds.periodic_neurons import neurons, refused


def tiny(method: Method, seed: int) -> World:
    """Twelve of each."""
    return neurons(seed, 12, 12)


def null(method: Method, seed: int) -> World:
    """No waves."""
    return neurons(seed, 0, 24)


def truth(method: Method, result: Any, world: World) -> float:
    """AUROC of the score for the planted waves."""
    table = result.table.sort_values("neuron")
    return auroc(table["ipr"].to_numpy(), world.truth["planted"].numpy())


def refusals(method: Method) -> list[Refusal]:
    """Blocks that do not fit."""
    return refused(neurons(0, 12, 12).given["left"])

"""Worlds of `feature_switch`: one coordinate of the stream decides the answer."""

from typing import Any

from microtome.errors import ShapeError, SubjectMismatch, UsageError
from microtome.method import Method
from microtome.subject.basis import Identity
from microtome.testing.case import Refusal, World
from microtome.testing.families.networks import network_refusals
from microtome.testing.planted_network import D_MODEL
from microtome.testing.planted_switch import planted_switch


def tiny(method: Method, seed: int) -> World:
    """Each prompt's key as a coordinate."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """Freshly drawn weights."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    case = planted_switch(seed, structured=structured)
    given = {"subject": case.subject, "task": case.task, "basis": case.basis, "latents": case.latents, "values": case.value}
    return World(given, {}, {"positions": case.position})


def truth(method: Method, result: Any, world: World) -> float:
    """Share of the examples whose answer follows the switch."""
    return result.estimate.value


def refusals(method: Method) -> list[Refusal]:
    """Latents and values that do not fit, and no draws."""
    latents = planted_switch(0).latents
    return [
        *network_refusals(method),
        Refusal("too few latents", {"latents": latents[:3]}, ShapeError, "each of 24"),
        Refusal("a latent that is not there", {"latents": [99] * len(latents)}, UsageError, "0..31"),
        Refusal("too few values", {"values": [1.0, 2.0]}, ShapeError, "24"),
        Refusal("a cleared latent that is not there", {"cleared": [99]}, UsageError, "cleared"),
        Refusal("no draws", {"draws": 0}, UsageError, "draws"),
    ]


def strangers(method: Method) -> list[Refusal]:
    """A basis that was fitted on another subject."""
    case = planted_switch(0)
    stray = Identity(case.basis.site, D_MODEL, subject="another")
    return [Refusal("a basis of another subject", {"basis": stray}, SubjectMismatch)]

"""Methods that say it in words: a unit that fires on one word must be described by that word."""

import inspect

import torch

from microtome.errors import Degenerate, UsageError
from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.families.labelled import label_refusals, labelled_world
from microtome.testing.planted import planted_recording

#: Held-out score (correlation, AUROC or accuracy) of the description of a planted unit.
PLANTED = 0.8


def tiny(method: Method, seed: int) -> World:
    """A unit of the planted factor: it fires on the word "noun" and is silent on "verb"."""
    return _world(seed, structured=True)


def null(method: Method, seed: int) -> World:
    """Units that have nothing to do with the words."""
    return _world(seed, structured=False)


def _world(seed: int, *, structured: bool) -> World:
    world = labelled_world(seed, structured=structured)
    unit = int(world.truth["planted"].directions[0].argmax())
    return World(world.given, world.truth, {"unit": unit, "units": [unit]})


def truth(method: Method, result, world: World) -> float:
    """The description's own held-out score; of several, that of the first."""
    first = result[0] if hasattr(result, "__getitem__") else result
    score = next(getattr(first, n) for n in ("score", "heldout", "estimate") if getattr(first, n, None) is not None)
    return float(getattr(score, "value", score))


def refusals(method: Method) -> list[Refusal]:
    """Wrong labels, units and seeds; too few documents to judge on any that were not searched."""
    rows = label_refusals(method)
    parameters = inspect.signature(method.function).parameters if method.function else {}
    if "units" in parameters:
        rows.append(Refusal("a unit that does not exist", {"units": [10**6]}, UsageError, "1000000"))
    if "recording" in parameters:
        recording = planted_recording(0).recording
        rows.append(Refusal("one document", {"recording": recording.samples([0])}, Degenerate, "document"))
        rows.append(Refusal("two sites in one recording", {"recording": _two_sites(recording)}, UsageError, "site"))
    return rows


def _two_sites(recording):
    values = {"a": recording.matrix(), "b": torch.zeros_like(recording.matrix())}
    return type(recording).of(values, index=recording.index, table=recording.table)

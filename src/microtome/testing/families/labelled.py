"""What the families of methods on labelled recordings share: one property that is one planted factor."""

import inspect

from microtome.errors import MicrotomeError, UsageError
from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.planted import PROPERTY, Planted, planted_recording


def labelled_world(seed: int, *, structured: bool = True) -> World:
    """The planted recording with its property, under every name by which methods take them."""
    planted = planted_recording(seed, structured=structured)
    return World(world_values(planted), {"planted": planted})


def world_values(planted: Planted) -> dict:
    """The nouns of a labelled recording."""
    names = {"label": PROPERTY, "property": PROPERTY}
    return {"recording": planted.recording, "labels": planted.labels, "target": planted.labels, **names}


def label_refusals(method: Method) -> list[Refusal]:
    """One class only, labels of another length, a property that is not there, a seed that is none."""
    planted = planted_recording(0)
    rows = []
    parameters = inspect.signature(method.function).parameters if method.function else {}
    if "labels" in parameters:
        rows.append(Refusal("labels of one class", {"labels": planted.labels | True}, MicrotomeError, "class|all|constant|one"))
        rows.append(Refusal("too few labels", {"labels": planted.labels[:-1]}, UsageError, r"\d"))
    for name in ("label", "property"):
        if name in parameters:
            rows.append(Refusal("an unknown property", {name: "plnted"}, UsageError, PROPERTY))
    if {"label", "property"} & set(parameters):
        one = planted.recording.add_labels({PROPERTY: planted.labels | True})
        rows.append(Refusal("a property that is everywhere", {"recording": one}, MicrotomeError, "."))
    if method.stochastic:
        rows.append(Refusal("a negative seed", {"seed": -1}, UsageError, "seed"))
    return rows

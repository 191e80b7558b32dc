"""Methods that find coordinates: a basis fitted on planted factors must have coordinates that follow them."""

import torch

from microtome.errors import MicrotomeError, ShapeError, UsageError
from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.planted import matched_correlation, planted_recording

#: Mean matched correlation that planted factors must reach.
PLANTED = 0.8


def tiny(method: Method, seed: int) -> World:
    """Six sparse non-negative factors that share no unit."""
    planted = planted_recording(seed)
    return World({"recording": planted.recording}, {"planted": planted})


def null(method: Method, seed: int) -> World:
    """The same units, each permuted over the rows by itself."""
    return World({"recording": planted_recording(seed, structured=False).recording})


def truth(method: Method, result, world: World) -> float:
    """Mean absolute correlation of the planted factors with their matched coordinates, on fresh encodings."""
    planted = world.truth["planted"]
    with torch.no_grad():
        codes = result.encode(planted.recording.matrix())
    return matched_correlation(codes.double().numpy(), planted.activations)


def refusals(method: Method) -> list[Refusal]:
    """What is no recording, and more sites than one."""
    from microtome.subject.recording import Recording

    x = planted_recording(0).recording.matrix()
    two = Recording.of({"a": x, "b": x})
    return [
        Refusal("two sites in one recording", {"recording": two}, UsageError, "a|site"),
        Refusal("whole numbers out of range", {"recording": two["a"].select([0])}, MicrotomeError),
    ]


def strangers(method: Method) -> list[Refusal]:
    """A fitted basis takes no other width."""
    return [Refusal("a tensor of another width", {}, ShapeError)]

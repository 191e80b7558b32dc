"""Methods that find coordinates: fitted on planted factors, they must find the planted directions."""

import torch

from microtome.errors import ShapeError, UsageError
from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.planted import WIDTH, matched_correlation, matched_cosine, planted_recording
from microtome.testing.worlds import own_world

#: Mean matched cosine (or, without directions, correlation) that planted factors must reach.
PLANTED = 0.7


def tiny(method: Method, seed: int) -> World:
    """Six sparse non-negative factors that share no unit."""
    if own := own_world(method):
        return own.tiny(method, seed)
    planted = planted_recording(seed)
    return World({"recording": planted.recording}, {"planted": planted})


def null(method: Method, seed: int) -> World:
    """The same units, each permuted over the rows by itself."""
    if own := own_world(method):
        return own.null(method, seed)
    return World({"recording": planted_recording(seed, structured=False).recording})


def truth(method: Method, result, world: World) -> float:
    """Mean absolute cosine of the planted directions with those found, one to one; without directions, of the codes."""
    if own := own_world(method):
        return own.truth(method, result, world)
    planted = world.truth["planted"]
    if result.directions is not None:
        return matched_cosine(result.directions.detach().double().cpu().numpy(), planted.directions)
    with torch.no_grad():
        codes = result.encode(planted.recording.matrix())
    return matched_correlation(codes.double().cpu().numpy(), planted.activations)


def refusals(method: Method) -> list[Refusal]:
    """More than one site, and a seed that is none."""
    if own := own_world(method):
        return own.refusals(method)
    from microtome.subject.recording import Recording

    x = planted_recording(0).recording.matrix()
    rows = [Refusal("two sites in one recording", {"recording": Recording.of({"a": x, "b": x})}, UsageError, "site")]
    if method.stochastic:
        rows.append(Refusal("a negative seed", {"seed": -1}, UsageError, "seed"))
    return rows


def strangers(method: Method) -> list[Refusal]:
    """A fitted basis takes no tensor of another width."""
    if own := own_world(method):
        return own.strangers(method) if hasattr(own, "strangers") else []
    wider = torch.zeros(2, WIDTH + 1)
    return [Refusal("a tensor of another width", {}, ShapeError, str(WIDTH), lambda basis: basis.encode(wider))]

"""Worlds of dictionaries that take several sites: the planted factors, written at each site along other directions."""

import numpy as np
import torch

from microtome.errors import ShapeError, UsageError
from microtome.method import Method
from microtome.subject.recording import Recording
from microtome.testing.case import Refusal, World
from microtome.testing.planted import WIDTH, matched_correlation, matched_cosine, matrix_read, planted_recording

SITES = ("in", "out")


def tiny(method: Method, seed: int) -> World:
    """Two sites with the same six factors; `out` holds them along the planted directions."""
    return _world(method, seed, structured=True)


def null(method: Method, seed: int) -> World:
    """The same units, each permuted over the rows by itself."""
    return _world(method, seed, structured=False)


def _world(method: Method, seed: int, *, structured: bool) -> World:
    planted, other = planted_recording(seed, structured=structured), planted_recording(seed + 1000, structured=structured)
    read = other.recording.matrix()
    if structured:
        read = torch.from_numpy((planted.activations @ other.directions).astype(np.float32)) + 0.02 * read
    kept = planted.recording
    labels = {name: kept.labels(name) for name in kept.properties}
    recording = Recording.of({"in": read, "out": kept.matrix()}, index=kept.index, table=kept.table, labels=labels)
    given = {"recording": recording}
    if method.key == "cross_layer_transcoder":
        given |= {"reads": ["in"], "writes": ["out"]}
    return World(given, {"planted": planted})


def truth(method: Method, result, world: World) -> float:
    """Mean absolute cosine of the planted directions with those written; for a joint code, correlation of the codes."""
    planted = world.truth["planted"]
    directions = result.directions
    if directions is not None and directions.shape[1] == WIDTH:
        return matched_cosine(directions.detach().double().cpu().numpy(), planted.directions)
    with torch.no_grad():
        codes = result.encode(matrix_read(world.given["recording"], result))
    return matched_correlation(codes.double().cpu().numpy(), planted.activations)


def refusals(method: Method) -> list[Refusal]:
    """One site where two are needed, and a seed that is none."""
    from microtome.errors import MicrotomeError

    alone = Recording.of({"in": planted_recording(0).recording.matrix()})
    rows = [Refusal("one site only", {"recording": alone}, MicrotomeError, "site")]
    return [*rows, Refusal("a negative seed", {"seed": -1}, UsageError, "seed")]


def strangers(method: Method) -> list[Refusal]:
    """A fitted basis takes no tensor of another width."""
    wider = torch.zeros(2, 2 * WIDTH + 1)
    return [Refusal("a tensor of another width", {}, ShapeError, f"{WIDTH}|{2 * WIDTH}", lambda basis: basis.encode(wider))]

"""Worlds of `lib` and `interaction_basis`: a linear layer whose output reads planted directions."""

from typing import Any

import torch

from microtome.errors import MicrotomeError, SiteError, UsageError
from microtome.method import Method
from microtome.rng import torch_rng
from microtome.subject.subject import Subject
from microtome.testing.case import Refusal, World
from microtome.testing.planted import FACTORS, WIDTH, matched_cosine, planted_recording


def tiny(method: Method, seed: int) -> World:
    """Planted factors, read one by one."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """The same inputs, read along random directions."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    planted = planted_recording(seed)
    first, second = torch.nn.Linear(WIDTH, WIDTH, bias=False).double(), torch.nn.Linear(WIDTH, FACTORS).double()
    with torch.no_grad():
        first.weight.copy_(torch.eye(WIDTH))
        second.bias.zero_()
        drawn = torch.randn(FACTORS, WIDTH, generator=torch_rng(seed, "read"), dtype=torch.float64)
        rows = torch.from_numpy(planted.directions) if structured else torch.nn.functional.normalize(drawn, dim=1)
        second.weight.copy_(rows)
    subject = Subject(torch.nn.Sequential(first, second), name="planted factors")
    given = {"subject": subject, "inputs": planted.recording.matrix().double(), "at": "0", "onto": "1"}
    return World(given, {"planted": planted})


def truth(method: Method, result: Any, world: World) -> float:
    """Mean absolute cosine of the planted directions with those found, one to one."""
    return matched_cosine(result.directions.detach().double().numpy(), world.truth["planted"].directions)


def refusals(method: Method) -> list[Refusal]:
    """Sites that are not there, sizes out of range, a seed that is none."""
    rows = [
        Refusal("a misspelt site", {"at": "7"}, SiteError, "7"),
        Refusal("a cut-off above 1", {"cutoff": 2.0}, UsageError, "cutoff"),
        Refusal("no probes", {"probes": 0}, UsageError, "probes"),
        Refusal("a negative seed", {"seed": -1}, UsageError, "seed"),
    ]
    if method.key == "lib":
        rows.append(Refusal("the same site twice", {"onto": "0"}, UsageError, "downstream"))
        rows.append(Refusal("a next site that is not there", {"onto": "9"}, MicrotomeError, "9"))
    return rows


def strangers(method: Method) -> list[Refusal]:
    """A fitted basis takes no tensor of another width."""
    wider = torch.zeros(2, WIDTH + 1)
    return [Refusal("a tensor of another width", {}, MicrotomeError, str(WIDTH), lambda basis: basis.encode(wider))]

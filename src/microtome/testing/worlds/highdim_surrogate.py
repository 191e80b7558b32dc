"""The world of highdim_surrogate: rows of 24 columns, of which the network's class depends on two."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.method import Method
from microtome.rng import torch_rng
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject
from microtome.testing.case import Refusal, World
from microtome.testing.drawn import drawn
from microtome.testing.families.networks import network_refusals

COLUMNS = 24


def tiny(method: Method, seed: int) -> World:
    """The class is the sign of the sum of two columns."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """The class depends a little on every column."""
    return _world(seed, False)


def _world(seed: int, structured: bool, n: int = 160) -> World:
    g = torch_rng(seed, "surrogate world")
    planted = torch.randperm(COLUMNS, generator=g)[:2]
    net = drawn(lambda: nn.Sequential(nn.Linear(COLUMNS, 8), nn.Tanh(), nn.Linear(8, 2)), 0.01 if structured else 0.5, g)
    if structured:
        with torch.no_grad():
            net[0].weight[0, planted] += 1.0
            net[2].weight[:, 0] += torch.tensor([2.0, -2.0])
    x = torch.randn(n, COLUMNS, generator=g)
    zero = torch.zeros(n, dtype=torch.long)
    task = Task("rows", x, x.flip(0), zero, zero + 1, kind="image", groups=list(range(n)))
    return World({"subject": Subject(net, name="rows"), "task": task}, {"columns": planted})


def part(world: World, n: int) -> World:
    """The first rows only."""
    return replace(world, given={**world.given, "task": world.given["task"][:n]})


def truth(method: Method, result: Any, world: World) -> float:
    """Share of the planted columns among as many leading ones, 0 where the tree is not faithful."""
    found = set(result.columns[:2].tolist()) & set(world.truth["columns"].tolist())
    return len(found) / 2 * (result.fidelity > result.majority)


def refusals(method: Method) -> list[Refusal]:
    """A site that is not there, no columns, no rows to test on, weights of other columns, a network that never answers 1."""
    world = _world(0, True)
    always = nn.Sequential(nn.Linear(COLUMNS, 2))
    with torch.no_grad():
        always[0].weight.zero_()
        always[0].bias.copy_(torch.tensor([1.0, 0.0]))
    return [
        *network_refusals(method),
        Refusal("no columns", {"features": 0}, UsageError, "features"),
        Refusal("no rows to test on", {"test": 0.0}, UsageError, "test"),
        Refusal("weights of other columns", {"probe": torch.ones(3)}, ShapeError, "probe"),
        Refusal("one answer", {"subject": Subject(always), "task": world.given["task"]}, Degenerate, "every row"),
    ]

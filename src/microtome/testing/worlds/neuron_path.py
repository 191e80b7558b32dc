"""The world of neuron_path: a perceptron of three layers in which one unit each hands a class on."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from microtome.errors import UsageError
from microtome.method import Method
from microtome.rng import torch_rng
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject
from microtome.testing.case import Refusal, World
from microtome.testing.families.networks import network_refusals

WIDTH, CLASSES, SITES = 12, 3, ("1", "3", "5")


def tiny(method: Method, seed: int) -> World:
    """Input i reaches logit i over one unit per layer, beside small noise."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """Weights that are noise alone."""
    return _world(seed, False)


def _world(seed: int, structured: bool, n: int = 12) -> World:
    g = torch_rng(seed, "neuron path world")
    chain = torch.stack([torch.randperm(WIDTH, generator=g)[:CLASSES] for _ in SITES])  # [layers, classes]
    ends = [torch.arange(CLASSES), *chain, torch.arange(CLASSES)]
    sizes = [CLASSES, WIDTH, WIDTH, WIDTH, CLASSES]
    parts: list[nn.Module] = []
    for i in range(len(sizes) - 1):
        with torch.random.fork_rng(devices=[]):
            layer = nn.Linear(sizes[i], sizes[i + 1])
        with torch.no_grad():
            for p in layer.parameters():
                p.copy_((0.02 if structured else 0.5) * torch.randn(p.shape, generator=g))
            if structured:
                layer.weight[ends[i + 1], ends[i]] += 1.0
        parts += [layer, nn.ReLU()]
    answers = torch.randint(CLASSES, (n,), generator=g)
    x = 0.1 * torch.rand(n, CLASSES, generator=g) + nn.functional.one_hot(answers, CLASSES)
    task = Task("chain", x, x.flip(0), answers, (answers + 1) % CLASSES, kind="image", groups=list(range(n)))
    subject = Subject(nn.Sequential(*parts[:-1]), name="chain")
    return World({"subject": subject, "task": task}, {"units": chain.T[answers]}, {"sites": SITES})


def part(world: World, n: int) -> World:
    """The first examples only."""
    return replace(world, given={**world.given, "task": world.given["task"][:n]})


def truth(method: Method, result: Any, world: World) -> float:
    """Share of examples whose whole path is the planted one."""
    return float((result.units == world.truth["units"]).all(1).double().mean())


def refusals(method: Method) -> list[Refusal]:
    """A site that is not there, a score that is none."""
    return [
        *network_refusals(method),
        Refusal("an unknown score", {"score": "mean"}, UsageError, "score"),
        Refusal("no steps", {"steps": 0}, UsageError, "steps"),
    ]

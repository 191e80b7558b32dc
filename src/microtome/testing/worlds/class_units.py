"""Worlds of `class_units` and `class_unit_maps`: a class is a colour, and one channel sees each."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from microtome.errors import Degenerate, SiteError, UsageError
from microtome.method import Method
from microtome.rng import rng, torch_rng
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject
from microtome.testing.case import Refusal, World
from microtome.testing.drawn import drawn

CHANNELS, COLOURS, SIDE, PICTURES = 8, 3, 12, 60


@dataclass(frozen=True)
class PlantedColours:
    """A subject, pictures with a patch of one colour, and the channel that sees each colour."""

    subject: Subject
    task: Task
    channels: list[int]


def world(seed: int, *, structured: bool = True) -> PlantedColours:
    """One strided convolution, the mean over places, and a linear layer; or drawn weights, and colours that say nothing."""
    channels = rng(seed, "planted colours").permutation(CHANNELS)[:COLOURS].tolist()
    module = drawn(lambda: nn.Sequential(
        nn.Conv2d(3, CHANNELS, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(CHANNELS, COLOURS),
    ), 0.02 if structured else 0.2, partial(torch_rng, seed, "planted colours"))  # fmt: skip
    if structured:
        with torch.no_grad():
            module[0].bias.zero_()
            for colour, channel in enumerate(channels):
                module[0].weight[channel, colour] += 0.3
                module[0].bias[channel] -= 0.6
                module[4].weight[colour, channel] += 5.0
    g = torch_rng(seed, "planted colours", "pictures")
    answers = torch.randint(COLOURS, (PICTURES,), generator=g)
    pictures = 0.2 * torch.rand(PICTURES, 3, SIDE, SIDE, generator=g)
    colours = answers if structured else torch.randint(COLOURS, (PICTURES,), generator=g)
    for i, (y, x) in enumerate(torch.randint(SIDE - 4, (PICTURES, 2), generator=g).tolist()):
        pictures[i, colours[i], y : y + 5, x : x + 5] = 1.0
    task = Task("colour", pictures, pictures.flip(0), answers, (answers + 1) % COLOURS, kind="image",
                groups=list(range(PICTURES)))  # fmt: skip
    return PlantedColours(Subject(module, name="planted colours"), task, channels)


def tiny(method: Method, seed: int) -> World:
    """Planted channels."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """Drawn weights, and colours without a meaning, beside the same truth."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    planted = world(seed, structured=structured)
    return World({"subject": planted.subject, "task": planted.task}, {"planted": planted}, {"mu": 0.8})


def truth(method: Method, result: Any, world: World) -> float:
    """Share of the weights that stands on the planted channel of the class."""
    table, channels = result.table, world.truth["planted"].channels
    size = table["weight"].abs()
    return float(size[[channels[c] == k for c, k in zip(table["class"], table["channel"])]].sum() / size.sum())


def refusals(method: Method) -> list[Refusal]:
    """Sizes out of range, wrong sites, one class, a seed that is none."""
    task = tiny(method, 0).given["task"]
    zero = torch.zeros_like(task.answers)
    one = Task("one", task.clean, task.corrupt, zero, zero + 1, kind="image", groups=task.groups)
    return [
        Refusal("no ball", {"mu": 0.0}, UsageError, "mu"),
        Refusal("no steps", {"steps": 0}, UsageError, "steps"),
        Refusal("a misspelt site", {"sites": ["11"]}, SiteError, "11"),
        Refusal("a site without places", {"sites": ["4"]}, SiteError, "places"),
        Refusal("one class", {"task": one}, Degenerate, "classes"),
        Refusal("a negative seed", {"seed": -1}, UsageError, "seed"),
    ]

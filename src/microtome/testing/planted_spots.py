"""A convolutional network with one filter per class, and pictures that show the pattern of every class, each at its place.

For methods of pictures, whose formulas multiply values by gradients: before a layer norm those products cancel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from microtome.method import Method
from microtome.rng import torch_rng
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject
from microtome.testing.case import Refusal, World
from microtome.testing.drawn import drawn
from microtome.testing.families.networks import network_refusals

CLASSES, CELL, SIDE = 6, 4, 3  # a picture is a grid of SIDE x SIDE cells of CELL x CELL pixels
PIXELS = CELL * SIDE


@dataclass(frozen=True)
class PlantedSpots:
    """A subject, pictures, and where in each stands what its answer depends on.

    Attributes
    ----------
    subject : Subject
        A convolution whose filters are the patterns, one that spreads what they find, the mean over places, a linear layer.
    task : Task
        Pictures of six patterns in different cells; the answer is any of them, the counterfactual a picture of noise.
    cells : Tensor
        Cell of the answer's pattern in each picture, row by row.
    """

    subject: Subject
    task: Task
    cells: torch.Tensor


def planted_spots(seed: int, *, structured: bool = True, n: int = 24) -> PlantedSpots:
    """Filters that are the patterns, or with ``structured=False`` freshly drawn weights beside the same truth."""
    draw = torch_rng(seed, "planted spots")
    patterns = torch.linalg.qr(torch.randn(9, 9, generator=draw)).Q[:CLASSES]
    patterns = (patterns * patterns[:, 4:5].sign()).reshape(CLASSES, 3, 3)  # what lights a filter is bright in its middle
    return PlantedSpots(_network(seed, patterns, structured), *_pictures(patterns, n, draw))


def _network(seed: int, patterns: torch.Tensor, structured: bool) -> Subject:
    module = drawn(lambda: nn.Sequential(
        nn.Conv2d(1, CLASSES, 3, padding=1), nn.ReLU(), nn.Conv2d(CLASSES, CLASSES, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CLASSES, CLASSES),
    ), 0.01 if structured else 0.3, partial(torch_rng, seed, "planted spots"))  # fmt: skip
    if structured:
        with torch.no_grad():
            module[0].weight[:, 0] += patterns
            module[0].bias -= 1.5
            module[2].weight += torch.eye(CLASSES)[..., None, None]  # a map as wide as the pattern
            module[6].weight += 40.0 * torch.eye(CLASSES)
    return Subject(module, name="planted spots")


def _pictures(patterns: torch.Tensor, n: int, draw: torch.Generator) -> tuple[Task, torch.Tensor]:
    clean, corrupt = (0.05 * torch.randn(n, 1, PIXELS, PIXELS, generator=draw) for _ in range(2))
    places = torch.stack([torch.randperm(SIDE**2, generator=draw)[:CLASSES] for _ in range(n)])
    for picture, cells in zip(clean, places):
        for pattern, cell in zip(patterns, cells.tolist()):
            y, x = CELL * (cell // SIDE), CELL * (cell % SIDE)
            picture[0, y : y + 3, x : x + 3] += 3.0 * pattern
    answers = torch.arange(n) % CLASSES
    wrong = (answers + torch.randint(1, CLASSES, (n,), generator=draw)) % CLASSES
    task = Task("name a pattern", clean, corrupt, answers, wrong, kind="image", groups=list(range(n)))
    return task, places[torch.arange(n), answers]


def tiny(method: Method, seed: int) -> World:
    """A network with a filter for each pattern."""
    return _world(planted_spots(seed))


def null(method: Method, seed: int) -> World:
    """Freshly drawn weights."""
    return _world(planted_spots(seed, structured=False))


def part(world: World, n: int) -> World:
    """The first pictures only."""
    planted: PlantedSpots = world.truth["planted"]
    return _world(PlantedSpots(planted.subject, planted.task[:n], planted.cells[:n]))


def _world(planted: PlantedSpots) -> World:
    return World({"subject": planted.subject, "task": planted.task}, {"planted": planted})


def truth(method: Method, result, world: World) -> float:
    """Share of pictures whose largest value, which must be positive, stands in the cell of the answer's pattern."""
    values = torch.as_tensor(result.values).detach().cpu().reshape(-1, PIXELS, PIXELS)
    largest, at = values.flatten(1).max(1)
    cell = at // PIXELS // CELL * SIDE + at % PIXELS // CELL
    return float(((cell == world.truth["planted"].cells) & (largest > 0)).double().mean())


def refusals(method: Method) -> Sequence[Refusal]:
    """Wrong sites and seeds."""
    return network_refusals(method)

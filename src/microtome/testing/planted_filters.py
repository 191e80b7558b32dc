"""A convolutional network in which one path of filters makes one class."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from microtome.rng import rng, torch_rng
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject
from microtome.testing.drawn import drawn

FILTERS = 4


@dataclass(frozen=True)
class PlantedFilters:
    """A subject, images of the class, and the path.

    Attributes
    ----------
    subject : Subject
        Two convolutions of four filters, their mean, and a linear layer to two classes.
    task : Task
        Images of class 0.
    path : list of [layer, parent, child]
        The connections that the class depends on.
    """

    subject: Subject
    task: Task
    path: list[list]


def planted_filters(seed: int, *, structured: bool = True, n: int = 16) -> PlantedFilters:
    """A planted path, or with ``structured=False`` freshly drawn weights beside the same truth.

    Parameters
    ----------
    seed : int
    structured : bool, default True
    n : int, default 16
        Number of images.

    Returns
    -------
    PlantedFilters
    """
    first, second = (int(v) for v in rng(seed, "planted filters").integers(FILTERS, size=2))
    module = drawn(lambda: nn.Sequential(
        nn.Conv2d(1, FILTERS, 3, padding=1), nn.ReLU(), nn.Conv2d(FILTERS, FILTERS, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(FILTERS, 2),
    ), 0.01 if structured else 0.1, partial(torch_rng, seed, "planted filters"))  # fmt: skip
    if structured:
        with torch.no_grad():
            module[0].weight[first, 0, 1, 1] += 1.0
            module[2].weight[second, first, 1, 1] += 1.0
            module[6].weight[0, second] += 10.0
            module[6].bias[1] += 3.0
    images = torch.rand(n, 1, 6, 6, generator=torch_rng(seed, "planted filters", "images")) + 0.5
    answers = torch.zeros(n, dtype=torch.long)
    task = Task("class 0", images, torch.zeros_like(images), answers, answers + 1, kind="image", groups=list(range(n)))
    return PlantedFilters(Subject(module, name="planted filters"), task, [["0", 0, first], ["2", first, second]])

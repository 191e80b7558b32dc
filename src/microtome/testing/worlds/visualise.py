"""The world of `visualise`: a class is a pattern of bright and dark, so the best picture is known."""

from typing import Any

import torch
from torch import nn

from microtome.errors import Degenerate, ShapeError, SiteError, SubjectMismatch, UsageError
from microtome.method import Method
from microtome.rng import torch_rng
from microtome.subject.basis import Identity
from microtome.subject.subject import Subject
from microtome.testing.case import Refusal, World
from microtome.testing.drawn import drawn

SIDE, CLASSES = 8, 3


def tiny(method: Method, seed: int) -> World:
    """The logit of a class is the product with its pattern."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """Drawn weights."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    g = torch_rng(seed, "planted pattern")
    pattern = torch.randn(CLASSES, SIDE, SIDE, generator=g).sign()
    net = drawn(lambda: nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 16), nn.ReLU(), nn.Linear(16, CLASSES)),
                0.001 if structured else 0.1, g)  # fmt: skip
    if structured:
        with torch.no_grad():
            net[1].weight[:CLASSES] += pattern.flatten(1) / SIDE
            net[1].bias[:CLASSES] += 2.0
            net[3].weight[torch.arange(CLASSES), torch.arange(CLASSES)] += 1.0
    images = torch.rand(40, 1, SIDE, SIDE, generator=g)
    given = {"subject": Subject(net, name="planted pattern"), "target": seed % CLASSES, "images": images}
    return World(given, {"pattern": pattern[seed % CLASSES]})


def truth(method: Method, result: Any, world: World) -> float:
    """Mean correlation of the pictures with the pattern."""
    pattern = world.truth["pattern"].flatten()
    rows = torch.cat([pattern[None], result.images.flatten(1)])
    return float(torch.corrcoef(rows)[0, 1:].mean())


def refusals(method: Method) -> list[Refusal]:
    """Targets that are not there, pictures that say nothing, options out of range."""
    images = torch.rand(4, 1, SIDE, SIDE, generator=torch_rng(0, "images"))
    return [
        Refusal("a class that is not there", {"target": CLASSES}, SiteError, "unit 3"),
        Refusal("a misspelt site", {"target": "12[0]"}, SiteError, "12"),
        Refusal("a coordinate of a basis by name", {"target": "1/pca[0]"}, UsageError, "basis"),
        Refusal("images of one value", {"images": torch.ones(4, 1, SIDE, SIDE)}, Degenerate, "bounds"),
        Refusal("images in bytes", {"images": (255 * images).byte()}, ShapeError, "floats"),
        Refusal("starts of another size", {"starts": torch.zeros(2, 1, 4, 4)}, ShapeError, "starts"),
        Refusal("an unknown way to write", {"picture": "wavelets"}, UsageError, "fourier"),
        Refusal("an unknown penalty", {"penalties": {"tv": 1.0}}, UsageError, "total_variation"),
        Refusal("an unknown twin", {"twin": "shuffled"}, UsageError, "weight_shuffle"),
        Refusal("no steps", {"steps": 0}, UsageError, "steps"),
        Refusal("no step length", {"lr": 0.0}, UsageError, "lr"),
        Refusal("a negative seed", {"seed": -1}, UsageError, "seed"),
    ]


def strangers(method: Method) -> list[Refusal]:
    """A coordinate of a basis that was fitted on another network."""
    basis = Identity("1", 16, subject="0" * 64)
    return [Refusal("a basis of another subject", {"target": (basis, 0)}, SubjectMismatch, "refit")]

"""The world of `multifaceted_viz`: a class of two patterns, each of which another hidden unit sees."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from microtome.errors import Degenerate, SiteError, UsageError
from microtome.method import Method
from microtome.rng import torch_rng
from microtome.subject.subject import Subject
from microtome.testing.case import Refusal, World
from microtome.testing.drawn import drawn

SIDE, IMAGES = 6, 40


@dataclass(frozen=True)
class PlantedFacets:
    """A subject, pictures of its class 0, and the pattern of each (0 or 1)."""

    subject: Subject
    images: Tensor
    kind: Tensor


def world(seed: int, *, structured: bool = True) -> PlantedFacets:
    """Two detectors of bars add up to the class; or drawn weights and pictures of noise."""
    g = torch_rng(seed, "planted facets")
    bars = torch.zeros(2, SIDE, SIDE)
    bars[0, :, 1:3], bars[1, 3:5] = 1.0, 1.0
    net = drawn(lambda: nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 6), nn.ReLU(), nn.Linear(6, 2)),
                0.01 if structured else 0.3, g)  # fmt: skip
    if structured:
        with torch.no_grad():
            net[1].weight[:2] += bars.flatten(1) - bars.mean(dim=(1, 2))[:, None] - 0.5 * bars.flip(0).flatten(1)
            net[3].weight[0, :2] += 1.0
    kind = torch.randint(2, (IMAGES,), generator=g)
    images = 0.4 * torch.rand(IMAGES, 1, SIDE, SIDE, generator=g)
    if structured:
        images = images + 0.6 * bars[kind][:, None]
    return PlantedFacets(Subject(net, name="planted facets"), images, kind)


def tiny(method: Method, seed: int) -> World:
    """Two planted facets."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """Noise, and a network that sees nothing in it."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    planted = world(seed, structured=structured)
    given = {"subject": planted.subject, "target": 0, "images": planted.images}
    return World(given, {"kind": planted.kind})


def truth(method: Method, result: Any, world: World) -> float:
    """Adjusted Rand index between facets and kinds."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(world.truth["kind"].numpy(), result.labels))


def refusals(method: Method) -> list[Refusal]:
    """Too few pictures, a target that no picture moves, options out of range."""
    planted = world(0)
    still = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 6), nn.ReLU(), nn.Linear(6, 2))
    with torch.no_grad():
        for p in still.parameters():
            p.zero_()
    bare = Subject(nn.Sequential(nn.Conv2d(1, 2, SIDE), nn.Flatten()))
    return [
        Refusal("two pictures", {"images": planted.images[:2]}, Degenerate, "at least 3"),
        Refusal("a target that nothing excites", {"subject": Subject(still)}, Degenerate, "nothing excites"),
        Refusal("one facet", {"facets": 1}, UsageError, "facets"),
        Refusal("no steps", {"steps": 0}, UsageError, "steps"),
        Refusal("no step length", {"lr": -1.0}, UsageError, "lr"),
        Refusal("a misspelt site", {"at": "11"}, SiteError, "11"),
        Refusal("no linear layer", {"subject": bare}, UsageError, "at="),
        Refusal("a negative seed", {"seed": -1}, UsageError, "seed"),
    ]

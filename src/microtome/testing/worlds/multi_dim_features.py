"""Worlds of `multi_dim_features`: a noisy ring that seven latents tile, beside two pairs of separate features."""

import math
from typing import Any

import torch

from microtome.errors import SubjectMismatch, UsageError
from microtome.method import Method
from microtome.rng import torch_rng
from microtome.subject.basis import Identity, Linear
from microtome.subject.recording import Recording
from microtome.testing.case import Refusal, World

RING, ROWS, WIDTH = 7, 600, 12


def tiny(method: Method, seed: int) -> World:
    """The seven latents fire in turn."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """They fire independently, as often and as strongly."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    g = torch_rng(seed, "ring world")
    angle = torch.arange(RING) * 2 * math.pi / RING
    directions = torch.zeros(RING + 4, WIDTH)
    directions[:RING, 0], directions[:RING, 1] = angle.cos(), angle.sin()
    for i in range(2):  # two pairs of directions that are alike, each latent on its own
        directions[RING + 2 * i, 2 + 2 * i] = 1.0
        directions[RING + 2 * i + 1, 2 + 2 * i : 4 + 2 * i] = torch.tensor([0.8, 0.6])
    codes = (torch.rand(ROWS, RING + 4, generator=g) < 0.3) * torch.rand(ROWS, RING + 4, generator=g)
    distance = torch.remainder(2 * math.pi * torch.rand(ROWS, 1, generator=g) - angle + math.pi, 2 * math.pi) - math.pi
    codes[:, :RING] = (1 + 0.1 * torch.randn(ROWS, 1, generator=g)) * (distance.cos() - 0.5).relu()
    if not structured:
        codes = codes.gather(0, torch.rand(codes.shape, generator=g).argsort(0))
    recording = Recording.of(torch.cat([codes, torch.rand(ROWS, 1, generator=g)], 1), site="x")
    decoder = torch.cat([directions, torch.zeros(1, WIDTH)])
    return World({"recording": recording, "basis": _Read("x", decoder)}, {"ring": set(range(RING))})


class _Read(Identity):
    """Codes are the recorded values themselves; directions are given."""

    def __init__(self, site: str, decoder: torch.Tensor) -> None:
        super().__init__(site, len(decoder))
        self._decoder = decoder

    @property
    def directions(self) -> torch.Tensor:
        return self._decoder


def truth(method: Method, result: Any, world: World) -> float:
    """Overlap of the first group with the ring, where the finding is supported."""
    if result.verdict != "supported":
        return 0.0
    first = {int(i) for i in result.table.iloc[0]["latents"].split()}
    return len(first & world.truth["ring"]) / len(first | world.truth["ring"])


def refusals(method: Method) -> list[Refusal]:
    """Sizes that are none, groups that are none, two sites."""
    x = _world(0, True).given["recording"].matrix()
    return [
        Refusal("one component", {"components": 1}, UsageError, "components"),
        Refusal("no draws", {"draws": 0}, UsageError, "draws"),
        Refusal("a group of one", {"clusters": [[3]]}, UsageError, "two different"),
        Refusal("a latent that is not there", {"clusters": [[0, 99]]}, UsageError, "99"),
        Refusal("two sites in one recording", {"recording": Recording.of({"a": x, "b": x})}, UsageError, "site"),
    ]


def strangers(method: Method) -> list[Refusal]:
    """A basis of another site."""
    return [Refusal("a basis of another site", {"basis": Linear("y", torch.eye(WIDTH))}, SubjectMismatch, "y")]

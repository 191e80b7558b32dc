"""Neurons that read two numbers modulo p: waves whose phases add, beside neurons without order."""

import math

import torch
from torch import Tensor

from microtome.errors import Degenerate, MicrotomeError, NonFinite, ShapeError, UsageError
from microtome.rng import torch_rng
from microtome.testing.case import Refusal, World

P = 13


def neurons(seed: int, waves: int, others: int) -> World:
    """Blocks [waves + others, P]; the planted mask says which neurons are waves."""
    g = torch_rng(seed, "periodic neurons")
    k = torch.arange(waves)[:, None] % (P // 2) + 1
    t = torch.rand(2, waves, 1, generator=g) * 2 * math.pi
    x = torch.arange(P) * 2 * math.pi / P
    blocks = []
    for phase in (t[0], t[1], t[0] + t[1]):
        wave = (k * x + phase).cos() * 1.4 + 0.1 * torch.randn(waves, P, generator=g)
        blocks.append(torch.cat([wave, torch.randn(others, P, generator=g)]))
    planted = torch.arange(waves + others) < waves
    return World(dict(zip(("left", "right", "out"), blocks, strict=True)), {"planted": planted})


def refused(left: Tensor) -> list[Refusal]:
    """Blocks that do not belong together, NaN, zeros, no draws, a seed that is none."""
    hole = left.clone()
    hole[0, 0] = torch.nan
    return [
        Refusal("a block of other neurons", {"left": left[:-1]}, ShapeError, "alike"),
        Refusal("a NaN", {"left": hole}, NonFinite, "left"),
        Refusal("weights of 0", {"left": torch.zeros_like(left)}, Degenerate, "0 everywhere"),
        Refusal("no numbers", {"left": "weights"}, UsageError, "str"),
        Refusal("two numbers only", dict.fromkeys(("left", "right", "out"), left[:, :2]), MicrotomeError, "p"),
        Refusal("no draws", {"draws": 0}, UsageError, "draws"),
        Refusal("a negative seed", {"seed": -1}, UsageError, "seed"),
    ]

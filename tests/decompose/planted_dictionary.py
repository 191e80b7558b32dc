"""Planted dictionaries shared by the tests of this folder."""

from dataclasses import dataclass

import torch
from torch import Tensor

from microtome.subject.recording import Recording


@dataclass
class Planted:
    """Sparse non-negative codes times unit directions: x = z D."""

    recording: Recording
    directions: Tensor
    codes: Tensor

    @property
    def x(self) -> Tensor:
        return self.recording.matrix()


def plant(rows=8000, d=32, features=64, rate=0.03, noise=0.0, seed=0, dtype=torch.float32) -> Planted:
    g = torch.Generator().manual_seed(seed)
    directions = torch.randn(features, d, generator=g, dtype=dtype)
    directions = directions / directions.norm(dim=1, keepdim=True)
    on = torch.rand(rows, features, generator=g, dtype=dtype) < rate
    codes = torch.where(on, 0.5 + torch.rand(rows, features, generator=g, dtype=dtype), 0.0)
    x = codes @ directions + noise * torch.randn(rows, d, generator=g, dtype=dtype)
    return Planted(Recording.of(x, site="hidden"), directions, codes)


def shuffled(x: Tensor, seed: int = 0) -> Recording:
    """Each coordinate permuted by itself: same marginals, no directions."""
    g = torch.Generator().manual_seed(seed)
    columns = [x[torch.randperm(len(x), generator=g), j] for j in range(x.shape[1])]
    return Recording.of(torch.stack(columns, 1), site="hidden")

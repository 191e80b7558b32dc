"""Means over prompts with standard errors over groups of prompts, without keeping the prompts."""

from typing import Any

import numpy as np
import torch
from torch import Tensor


class GroupSums:
    """Mean over prompts and its standard error over groups of prompts, from prompts sorted by group."""

    def __init__(self, senders: int, receivers: int) -> None:
        self.total, self.squares, self.cross = (torch.zeros(senders, receivers, dtype=torch.float64) for _ in range(3))
        self.open: tuple[Any, Tensor, int] | None = None
        self.prompts = self.groups = self.sizes = 0

    def add(self, each: Tensor, groups: np.ndarray) -> None:
        """Scores [c, senders, receivers] of the next prompts."""
        each = each.detach().cpu().double()
        edges = np.flatnonzero(np.diff(groups)) + 1
        for part in np.split(np.arange(len(groups)), edges):
            key, part_sum = groups[part[0]], each[part[0] : part[-1] + 1].sum(0)
            if self.open is not None and self.open[0] == key:
                self.open = (key, self.open[1] + part_sum, self.open[2] + len(part))
            else:
                self._close()
                self.open = (key, part_sum, len(part))

    def _close(self) -> None:
        if self.open is None:
            return
        _, total, size = self.open
        self.total += total
        self.squares += total.square()
        self.cross += size * total
        self.prompts, self.groups, self.sizes = self.prompts + size, self.groups + 1, self.sizes + size**2
        self.open = None

    def finish(self) -> tuple[Tensor, Tensor]:
        """Mean and standard error (NaN for a single group)."""
        self._close()
        mean = self.total / self.prompts
        square = self.squares - 2 * mean * self.cross + mean.square() * self.sizes
        factor = self.groups / (self.groups - 1) if self.groups > 1 else float("nan")
        return mean, (factor * square.clamp_min(0)).sqrt() / self.prompts

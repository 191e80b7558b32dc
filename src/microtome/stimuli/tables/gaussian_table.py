"""Gaussian tables with exact conditionals: what a missing feature should be, given those that are there."""

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
import torch
from torch import Tensor

from microtome.errors import ShapeError, UsageError
from microtome.rng import rng
from microtome.stimuli.stimuli import Stimuli


@dataclass(frozen=True, eq=False)
class GaussianTable:
    """Rows from N(mean, covariance); a label that is linear in them.

    Attributes
    ----------
    mean : Tensor[d]
    covariance : Tensor[d, d]
    weights : Tensor[d]
        The label is 1 where ``weights . (x - mean) > 0``.
    """

    mean: Tensor
    covariance: Tensor
    weights: Tensor

    def rows(self, n: int, seed: int = 0) -> Stimuli:
        """`n` rows [n, d] float32 of kind "vector", with the column label and the column score (before the threshold)."""
        import pandas as pd

        if n < 1:
            raise UsageError(f"a table needs n >= 1 rows, got {n}.")
        z = rng(seed, "gaussian table").standard_normal((n, len(self.mean)))
        x = torch.from_numpy(z) @ torch.linalg.cholesky(self.covariance).T + self.mean
        score = (x - self.mean) @ self.weights
        table = pd.DataFrame({"label": (score > 0).long().numpy(), "score": score.numpy()})
        return Stimuli(x.float(), table, kind="vector", name="gaussian table")

    def conditional(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Mean [n, missing] and covariance [missing, missing] of the missing features, given the known ones (BoolTensor[d]).

        Raises
        ------
        ShapeError
            When `known` has another length.
        """
        if known.shape != self.mean.shape or x.shape[1:] != self.mean.shape:
            raise ShapeError(f"x {list(x.shape)} and known {list(known.shape)} do not fit {len(self.mean)} features.")
        c, away = self.covariance, (x.double() - self.mean)[:, known]
        if not bool(known.any()):
            return self.mean.expand(len(x), -1), c
        gain = torch.linalg.solve(c[known][:, known], c[known][:, ~known])
        return self.mean[~known] + away @ gain, c[~known][:, ~known] - c[~known][:, known] @ gain

    def shapley(self, x: Tensor) -> Tensor:
        """Exact conditional Shapley values [n, d] of the score ``weights . (x - mean)``: coalitions know their features, the
        others take their conditional mean. At most 12 features."""
        d = len(self.mean)
        if d > 12:
            raise UsageError(f"exact Shapley values take 2**d coalitions; d = {d} is above 12.")
        worth = {}
        for size in range(d + 1):
            for chosen in combinations(range(d), size):
                known = torch.zeros(d, dtype=torch.bool)
                known[list(chosen)] = True
                full = x.double().clone()
                full[:, ~known] = self.conditional(x, known)[0]
                worth[chosen] = (full - self.mean) @ self.weights
        found = torch.zeros(len(x), d, dtype=torch.float64)
        for i in range(d):
            for chosen in worth:
                if i not in chosen:
                    joined = tuple(sorted((*chosen, i)))
                    found[:, i] += (worth[joined] - worth[chosen]) / (d * comb(d - 1, len(chosen)))
        return found


def correlated(width: int = 8, seed: int = 0, *, correlation: float = 0.5, relevant: int = 3) -> GaussianTable:
    """A table of standard normal features, neighbours correlated by ``correlation ** distance``, the first few relevant.

    Parameters
    ----------
    width : features.
    seed : of the weights.
    correlation : of neighbours, in [0, 1).
    relevant : features with a weight (between 1 and 2 in size, either sign); all others have 0.

    Examples
    --------
    >>> table = correlated(4)
    >>> mean, cov = table.conditional(torch.tensor([[2.0, 0.0, 0.0, 0.0]]), torch.tensor([True, False, False, False]))
    >>> mean.tolist(), round(float(cov[0, 0]), 3)
    ([[1.0, 0.5, 0.25]], 0.75)
    """
    if width < 2 or not 0 <= correlation < 1 or not 0 < relevant <= width:
        raise UsageError(
            "correlated needs width >= 2, correlation in [0, 1) and 0 < relevant <= width; "
            f"got {width}, {correlation}, {relevant}."
        )
    g = rng(seed, "correlated table")
    at = torch.arange(width, dtype=torch.float64)
    weights = np.zeros(width)
    weights[:relevant] = g.uniform(1, 2, relevant) * g.choice([-1, 1], relevant)
    distance = (at[:, None] - at).abs()
    return GaussianTable(torch.zeros(width, dtype=torch.float64), correlation**distance, torch.from_numpy(weights))

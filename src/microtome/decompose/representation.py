"""What one representation looks like: how many dimensions it fills, whose variance it holds, how abstract its variables are.

Conditions are given by their variables, ``bits[n, v]`` of 0 and 1, one row per sample.
"""

from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from microtome.errors import Degenerate, ShapeError


def participation_ratio(x: Tensor) -> float:
    """Effective number of dimensions, ``(sum lambda)^2 / sum lambda^2`` over the eigenvalues of the covariance of x[n, d].

    >>> round(participation_ratio(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])), 6)
    2.0
    """
    centred = _rows(x)
    small = centred.T @ centred if centred.shape[1] <= centred.shape[0] else centred @ centred.T
    return float(small.trace() ** 2 / small.square().sum())


def variance_explained(x: Tensor, labels: Tensor) -> float:
    """Share of the variance of x[n, d] that a linear fit on labels [n] or [n, v] explains (in sample).

    For one balanced label y of -1 and 1 it is ``||y y^T x / n||^2 / ||x||^2`` with x centred.

    Notes
    -----
    Null: labels permuted; about ``v / n``. An untrained network already codes linear features of its input: subtract it.
    Misleads when labels are correlated: each is credited with what they share.

    Examples
    --------
    >>> x = torch.tensor([[1.0, 2.0], [1.0, -2.0], [-1.0, 2.0], [-1.0, -2.0]])
    >>> variance_explained(x, torch.tensor([1, 1, 0, 0]))
    0.2
    """
    centred = _rows(x)
    y = labels.reshape(len(labels), -1).double()
    if len(y) != len(centred):
        raise ShapeError(f"{len(y)} labels for {len(centred)} samples.")
    q, r = torch.linalg.qr(y - y.mean(0))
    kept = q[:, r.diagonal().abs() > 1e-9 * r.abs().max().clamp_min(1e-300)]
    if not kept.shape[1]:
        raise Degenerate("the labels are constant.")
    return float((kept.T @ centred).square().sum() / centred.square().sum())


def ccgp(x: Tensor, bits: Tensor, variable: int) -> float:
    """Cross-condition generalisation performance of one variable: decode it in conditions that were not fitted on.

    For every choice of half of the values of the other variables, a linear classifier (least squares on the class means'
    difference) is fitted on those and judged on the rest; the mean accuracy.

    Notes
    -----
    Null: about 1/2 where each condition lies at a random place; it can be below.
    """
    centred, given = _rows(x), _bits(x, bits)
    own, others = given[:, variable].astype(bool), np.delete(given, variable, axis=1)
    _, context = np.unique(others, axis=0, return_inverse=True)
    context = context.ravel()
    count = int(context.max()) + 1
    if count < 2:
        raise Degenerate("there is one context only: generalisation across conditions needs another variable.")
    scores = []
    for chosen in combinations(range(count), count // 2):
        inside = np.isin(context, chosen)
        low, high = (
            torch.stack([centred[torch.from_numpy((own == side) & (context == c))].mean(0) for c in chosen]).mean(0)
            for side in (False, True)
        )
        score = (centred - (low + high) / 2) @ (high - low)
        hit = (score.numpy() > 0) == own
        scores.append(float(np.mean([hit[~inside & (own == side)].mean() for side in (False, True)])))
    return float(np.mean(scores))


def parallelism(x: Tensor, bits: Tensor, variable: int) -> float:
    """Mean cosine between the directions that a variable's change takes in different contexts: 1 for a parallelepiped."""
    centred, given = _rows(x), _bits(x, bits)
    own, others = given[:, variable].astype(bool), np.delete(given, variable, axis=1)
    steps = []
    for value in np.unique(others, axis=0):
        here = (others == value).all(1)
        if (here & own).any() and (here & ~own).any():
            steps.append(centred[torch.from_numpy(here & own)].mean(0) - centred[torch.from_numpy(here & ~own)].mean(0))
    if len(steps) < 2:
        raise Degenerate("fewer than two contexts show both values of the variable.")
    unit = torch.nn.functional.normalize(torch.stack(steps), dim=1)
    return float((unit @ unit.T)[tuple(np.triu_indices(len(unit), 1))].mean())


def shattering(x: Tensor, bits: Tensor) -> float:
    """Share of the balanced two-class splits of the conditions that a linear readout of their means separates.

    A split is separated when least squares on the condition means gives every condition its side: more dimensions, more
    splits.
    """
    centred, given = _rows(x), _bits(x, bits)
    _, condition = np.unique(given, axis=0, return_inverse=True)
    condition = condition.ravel()
    count = int(condition.max()) + 1
    if count > 12:
        raise ShapeError(f"{count} conditions have too many splits to try; at most 12.")
    means = torch.stack([centred[torch.from_numpy(condition == c)].mean(0) for c in range(count)])
    design = torch.cat([means / means.norm().clamp_min(1e-300), torch.full((count, 1), 1.0, dtype=means.dtype)], 1)
    u, s, _ = torch.linalg.svd(design, full_matrices=False)
    project = u[:, s > 1e-3 * s[0]]  # a readout that needs larger weights than that would read noise
    separated = []
    for chosen in combinations(range(1, count), count // 2):
        side = torch.ones(count, dtype=means.dtype)
        side[list(chosen)] = -1
        separated.append(bool(((project @ (project.T @ side)) * side > 0).all()))
    return float(np.mean(separated))


def _rows(x: Tensor) -> Tensor:
    if x.ndim != 2 or len(x) < 2:
        raise ShapeError(f"a representation is [samples, units] with at least two samples, got {tuple(x.shape)}.")
    centred = x.detach().double().cpu() - x.detach().double().cpu().mean(0)
    if not float(centred.abs().max()) > 0:
        raise Degenerate("the representation does not vary over the samples.")
    return centred


def _bits(x: Tensor, bits: Tensor) -> np.ndarray:
    if bits.ndim != 2 or len(bits) != len(x):
        raise ShapeError(f"variables must be [{len(x)}, v], got {tuple(bits.shape)}.")
    return bits.cpu().numpy()

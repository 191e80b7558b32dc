"""Is a two-dimensional cloud one feature, or two of one dimension? Separability and mixture index (Engels et al. 2024).

Both search a grid over angle (and offset) exactly, without gradients, so neither can stick.
"""

import math

import numpy as np
from torch import Tensor

from microtome.errors import Degenerate, NonFinite, ShapeError, UsageError
from microtome.rng import rng

#: Bins per axis, angles and offsets of the grids, and permutations that the bias is estimated from.
BINS, ANGLES, OFFSETS, PERMUTATIONS = 10, 36, 200, 5
MIN_ROWS = 20


def separability(
    cloud: Tensor, *, bins: int = BINS, angles: int = ANGLES, permutations: int = PERMUTATIONS, seed: int = 0
) -> float:
    """Bits that two coordinates share in the rotation where they share least: 0 when the cloud is two independent features.

    ``S = min over theta of I((R_theta y)_1; (R_theta y)_2)``, by histograms of `bins` x `bins`; a quarter turn holds all
    rotations. What a histogram shares by chance (about ``(bins - 1)^2 / (2 n ln 2)`` bits) is measured by permuting one
    coordinate, and subtracted.

    Parameters
    ----------
    cloud : Tensor[n, 2]
        Scaled to unit variance per coordinate first.
    bins, angles, permutations, seed
        Of histogram, grid and correction.

    Raises
    ------
    ShapeError, NonFinite, Degenerate
        When the cloud is not [n, 2], not finite, has fewer than 20 rows or lies on a line.

    Notes
    -----
    Null: independent coordinates, and any rotation of a Gaussian, give 0 up to noise.
    Misleads when there are few rows: then little is left after the correction.

    Examples
    --------
    >>> import torch
    >>> g = torch.Generator().manual_seed(0)
    >>> angle = 2 * math.pi * torch.rand(3000, generator=g)
    >>> separability(torch.stack([angle.cos(), angle.sin()], 1)) > 0.5
    True
    >>> abs(separability(torch.randn(3000, 2, generator=g))) < 0.05
    True
    """
    if bins < 2 or angles < 1 or permutations < 1:
        raise UsageError(f"separability needs bins >= 2, angles >= 1 and permutations >= 1, got {bins, angles, permutations}.")
    y = scaled(cloud)
    theta = np.arange(angles) * (math.pi / 2) / angles
    turn = np.stack([np.stack([np.cos(theta), np.sin(theta)]), np.stack([-np.sin(theta), np.cos(theta)])])  # [2, 2, angles]
    a, b = (_binned(y @ turn[i], bins) for i in (0, 1))  # [n, angles]
    found = _information(a, b, bins)
    stream = rng(seed, "decompose", "separability")
    chance = np.mean([_information(a, b[stream.permutation(len(b))], bins) for _ in range(permutations)], axis=0)
    return float((found - chance).min())


def mixture_index(cloud: Tensor, *, width: float = 0.1, angles: int = 2 * ANGLES, offsets: int = OFFSETS) -> float:
    """Largest share of the cloud in a thin strip: high when it mixes features of lower dimension.

    ``M = max over unit v and c of P(|v.y + c| < width * rms(v.y + c))``, over `angles` of a half turn and `offsets`
    across the cloud.

    Parameters
    ----------
    cloud : Tensor[n, 2]
    width : float
        Half width of the strip. Default and paper: 0.1.
    angles, offsets : int

    Raises
    ------
    ShapeError, NonFinite, Degenerate
        As `separability`.

    Notes
    -----
    Null: a Gaussian gives 0.08, the mass within a tenth of its standard deviation.
    Misleads when a circle has few values and no noise: each chord holds two of them.

    Examples
    --------
    >>> import torch
    >>> rays = torch.zeros(100, 2)
    >>> rays[:50, 0] = rays[50:, 1] = torch.linspace(0.1, 1, 50)
    >>> mixture_index(rays) >= 0.5
    True
    """
    if not 0 < width < 1 or angles < 1 or offsets < 2:
        raise UsageError(f"width lies in (0, 1), angles >= 1, offsets >= 2; got {width, angles, offsets}.")
    y = scaled(cloud)
    theta = np.arange(angles) * math.pi / angles
    best = 0
    for direction in np.stack([np.cos(theta), np.sin(theta)], 1):
        p = np.sort(y @ direction)
        c = np.union1d(np.linspace(-p[-1], -p[0], offsets), [0.0])
        half = width * np.sqrt(p.var() + (p.mean() + c) ** 2)
        inside = np.searchsorted(p, -c + half) - np.searchsorted(p, -c - half, side="right")
        best = max(best, int(inside.max()))
    return best / len(y)


def scaled(cloud: Tensor) -> np.ndarray:
    """The cloud, checked, centred and with unit variance per coordinate, in float64."""
    if cloud.ndim != 2 or cloud.shape[1] != 2:
        raise ShapeError(f"a cloud must be [n, 2], got shape {tuple(cloud.shape)}.")
    y = cloud.detach().double().cpu().numpy()
    if not np.isfinite(y).all():
        raise NonFinite("the cloud holds NaN or infinity.")
    if len(y) < MIN_ROWS:
        raise Degenerate(f"{len(y)} points are too few to tell one feature from two; at least {MIN_ROWS}.")
    y = y - y.mean(0)
    spread = y.std(0)
    if not spread.min() > 1e-9 * max(float(spread.max()), 1e-300):
        raise Degenerate("the cloud lies on a line: it has one dimension.")
    return y / spread


def _binned(p: np.ndarray, bins: int) -> np.ndarray:
    """Bin of each value between the smallest and the largest of its column."""
    low, high = p.min(0), p.max(0)
    return np.minimum(((p - low) * (bins / (high - low))).astype(np.int64), bins - 1)


def _information(a: np.ndarray, b: np.ndarray, bins: int) -> np.ndarray:
    """Mutual information in bits of the columns of a with those of b [n, columns], by counting."""
    n, columns = a.shape
    cell = (np.arange(columns) * bins + a) * bins + b
    joint = np.bincount(cell.ravel(), minlength=columns * bins * bins).reshape(columns, bins, bins) / n

    def entropy(p: np.ndarray) -> np.ndarray:
        return -(p * np.log2(np.where(p > 0, p, 1.0))).reshape(columns, -1).sum(1)

    return entropy(joint.sum(2)) + entropy(joint.sum(1)) - entropy(joint)

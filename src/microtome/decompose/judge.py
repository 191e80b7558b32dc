"""How good a basis is: reconstruction, sparsity, agreement with true directions and between seeds.

All sums run over the whole set. A mean of per-batch ratios is a different (and wrong) number.
"""

from itertools import permutations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.errors import Degenerate, ShapeError, UsageError


def fvu(x: Tensor, reconstruction: Tensor) -> float:
    """Fraction of variance unexplained, ``sum ||x - x'||^2 / sum ||x - mean x||^2`` over all rows.

    Parameters
    ----------
    x, reconstruction : Tensor[rows, d]
        Originals and their reconstructions.

    Returns
    -------
    float
        0 is perfect, 1 is no better than the mean, above 1 is worse than the mean.

    Raises
    ------
    Degenerate
        When the rows do not vary.

    Notes
    -----
    Null: the reconstruction by the mean scores 1.
    Misleads when a few rows or units (the first token of a text) carry most of the variance.

    Examples
    --------
    >>> x = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    >>> fvu(x, x.mean(0).expand(2, 2))
    1.0
    """
    if x.shape != reconstruction.shape:
        found = f"{tuple(x.shape)} and {tuple(reconstruction.shape)}"
        raise ShapeError(f"x and its reconstruction must have one shape, got {found}.")
    x, reconstruction = x.double(), reconstruction.double()
    return _ratio(float((x - reconstruction).square().sum()), float((x - x.mean(0)).square().sum()))


def reconstruction(recording: Any, basis: Any, *, batch: int = 2048, target: Any = None) -> dict[str, float]:
    """Stream a recording through a basis and score it.

    Parameters
    ----------
    recording : Recording
        One site.
    basis : Basis
        Anything with ``encode`` and ``decode``.
    batch : int
        Rows at a time.
    target : Recording, optional
        What should be rebuilt, where it is not `recording` itself: the site that a transcoder writes, same rows.

    Returns
    -------
    dict
        fvu; l0 (mean number of non-zero coordinates per row); dead (share of coordinates that are 0 on every row);
        shrinkage (``sum <x - m, x' - m> / sum ||x - m||^2`` with m the mean: below 1 when codes are too small).

    Notes
    -----
    Null: a random basis of the same size (`random_basis`) and the same basis on permuted samples.
    """
    sums, active = _Sums(), 0
    rows = recording.batches(batch, None)
    for x, y in ((x, x) for x in rows) if target is None else zip(rows, target.batches(batch, None), strict=True):
        rebuilt, fired = _through(basis, x)
        sums.add(y, rebuilt)
        active = active + fired
    if not sums.rows:
        raise Degenerate("the recording holds no rows to score.")
    return {
        "fvu": _ratio(sums.error, sums.variance),
        "l0": float(active.sum()) / sums.rows,
        "dead": float((active == 0).double().mean()),
        "shrinkage": _ratio(sums.inner, sums.variance),
    }


def density(recording: Any, basis: Any, *, batch: int = 2048) -> Tensor:
    """Share of rows on which each coordinate is non-zero, Tensor[dim] in float64."""
    counts, rows = 0, 0
    for x in recording.batches(batch, None):
        counts, rows = counts + (basis.encode(x) != 0).sum(0), rows + len(x)
    return counts.double() / rows


def cosines(found: Tensor, true: Tensor) -> Tensor:
    """Absolute cosine similarity of every true direction (rows) with every found one: Tensor[true, found]."""
    if found.ndim != 2 or true.ndim != 2 or found.shape[1] != true.shape[1]:
        raise ShapeError(f"directions must be [n, d] with one d, got {tuple(found.shape)} and {tuple(true.shape)}.")
    unit = [t.double() / t.double().norm(dim=1, keepdim=True).clamp_min(1e-300) for t in (true, found)]
    return (unit[0] @ unit[1].T).abs()


def mmcs(found: Tensor, true: Tensor) -> float:
    """Mean max cosine similarity: for each true direction its best found one, averaged.

    Parameters
    ----------
    found, true : Tensor[n, d], Tensor[m, d]
        Directions; signs and norms are ignored.

    Notes
    -----
    Null: random unit directions; the maximum over n draws in d dimensions is about ``sqrt(2 ln(n) / d)``, not 0.
    Misleads when one found direction serves many true ones; `matched_cosine` forbids that.

    Examples
    --------
    >>> mmcs(-torch.eye(3), torch.eye(3))
    1.0
    """
    return float(cosines(found, true).max(1).values.mean())


def matched_cosine(found: Tensor, true: Tensor) -> float:
    """Mean cosine of the best one-to-one matching (Hungarian) of true with found directions.

    True directions left without a partner, when there are more true than found, count as 0.
    """
    from scipy.optimize import linear_sum_assignment

    table = cosines(found, true).numpy()
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / len(table))


def stability(bases: list[Any], *, matched: bool = False) -> float:
    """Mean agreement between dictionaries fitted with different seeds, over all ordered pairs.

    Parameters
    ----------
    bases : list of Basis
        At least two, of one site.
    matched : bool
        One-to-one matching (`matched_cosine`) instead of the best match (`mmcs`).

    Notes
    -----
    Null: the same on `random_basis` of the same sizes.
    """
    if len(bases) < 2:
        raise UsageError(f"stability compares at least two bases, got {len(bases)}.")
    score = matched_cosine if matched else mmcs
    pairs = [score(a.directions, b.directions) for a, b in permutations(bases, 2)]
    return float(np.mean(pairs))


def _through(basis: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Reconstruction of x and how often each coordinate is non-zero; O(rows * k * d) decode where k is fixed."""
    bypass = basis.bypass(x) if hasattr(basis, "bypass") else 0.0
    if getattr(basis, "activation", None) == "topk":
        indices, values = basis.encode_sparse(x)
        return basis.decode_sparse(indices, values) + bypass, torch.bincount(indices[values > 0], minlength=basis.dim)
    z = basis.encode(x)
    return basis.decode(z) + bypass, (z != 0).sum(0)


class _Sums:
    """Running sums of squares about the first row, in float64."""

    def __init__(self) -> None:
        self.rows, self.error, self._shift = 0, 0.0, None

    def add(self, x: Tensor, rebuilt: Tensor) -> None:
        x, rebuilt = x.double(), rebuilt.double()
        if self._shift is None:
            self._shift = x[:1].clone()
            self._x, self._y = torch.zeros_like(x[0]), torch.zeros_like(x[0])
            self._xx = self._xy = 0.0
        self.error += float((x - rebuilt).square().sum())
        x, rebuilt = x - self._shift, rebuilt - self._shift
        self.rows += len(x)
        self._x, self._y = self._x + x.sum(0), self._y + rebuilt.sum(0)
        self._xx, self._xy = self._xx + float(x.square().sum()), self._xy + float((x * rebuilt).sum())

    @property
    def variance(self) -> float:
        return self._xx - float(self._x.square().sum()) / self.rows

    @property
    def inner(self) -> float:
        return self._xy - float((self._x * self._y).sum()) / self.rows


def _ratio(part: float, whole: float) -> float:
    if whole <= 0.0:
        raise Degenerate("the rows do not vary: the variance is 0 and no share of it can be stated.")
    return part / whole

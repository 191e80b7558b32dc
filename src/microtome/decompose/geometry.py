"""Geometry of feature directions in superposition (Elhage et al. 2022): who has a dimension, who shares one.

Directions are rows, ``W[features, m]``, as in ``Basis.directions``. The toy model ``h = W x`` of the paper has them as
columns: pass its transpose.
"""

import torch
from torch import Tensor

from microtome.errors import ShapeError

#: Feature dimensionality of the regular arrangements that toy models settle in.
POLYTOPES = {
    "dedicated": 1.0, "tetrahedron": 3 / 4, "triangle": 2 / 3, "digon": 1 / 2, "pentagon": 2 / 5,
    "square antiprism": 3 / 8,
}  # fmt: skip


def norms(directions: Tensor) -> Tensor:
    """``||W_i||``: near 1 when feature i is represented, near 0 when it is not. Tensor[features]."""
    return _checked(directions).norm(dim=1)


def interference(directions: Tensor) -> Tensor:
    """``sum_(j != i) (What_i . W_j)^2``: how much other features write onto feature i. Tensor[features]."""
    w = _checked(directions)
    overlaps = (_unit(w) @ w.T).square()
    return overlaps.sum(1) - overlaps.diagonal()


def dimensionality(directions: Tensor) -> Tensor:
    """``D_i = ||W_i||^2 / sum_j (What_i . W_j)^2``: the share of a dimension that feature i has.

    Parameters
    ----------
    directions : Tensor[features, m]
        One row per feature.

    Returns
    -------
    Tensor[features]
        In [0, 1]; 0 for a feature that is not represented. The sum over features is at most m (at most the rank).

    Notes
    -----
    Null: random unit rows give about ``m / features`` each, without plateaus; compare with `POLYTOPES` only against
    draws of equal norms.
    Misleads when norms differ by orders of magnitude: a tiny feature can have a large share of nothing.

    Examples
    --------
    >>> import math
    >>> angles = torch.arange(5) * 2 * math.pi / 5
    >>> dimensionality(torch.stack([angles.cos(), angles.sin()], 1)).numpy().round(6).tolist()
    [0.4, 0.4, 0.4, 0.4, 0.4]
    """
    w = _checked(directions)
    power = (_unit(w) @ w.T).square().sum(1)
    return torch.where(power > 0, w.square().sum(1) / power.clamp_min(torch.finfo(w.dtype).tiny), 0.0)


def dimensions_per_feature(directions: Tensor) -> float:
    """``m / ||W||_F^2``: dimensions spent on each represented feature (inverse of features per dimension)."""
    w = _checked(directions)
    return float(w.shape[1] / w.square().sum())


def _checked(directions: Tensor) -> Tensor:
    if directions.ndim != 2:
        raise ShapeError(f"directions must be [features, m], got shape {tuple(directions.shape)}.")
    return directions.double()


def _unit(w: Tensor) -> Tensor:
    return w / w.norm(dim=1, keepdim=True).clamp_min(torch.finfo(w.dtype).tiny)

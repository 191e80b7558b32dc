"""Gaussian tables with a planted direction: the simplest data on which a method can be right or wrong."""

import numpy as np
import torch

from microtome.errors import UsageError
from microtome.rng import rng
from microtome.stimuli.stimuli import Stimuli


def gaussian(n: int, seed: int = 0, *, width: int = 16, separation: float = 2.0, nuisance: int = 2) -> Stimuli:
    """Draw standard normal rows; class 1 is moved by `separation` along one hidden direction.

    x = z + separation * (label - 1/2) * u, and the first `nuisance` of the other axes have five times the variance, so the
    class direction is not the leading principal component. `direction(width, seed)` gives u.

    Parameters
    ----------
    n : rows.
    seed : random stream; also fixes the direction.
    width : columns.
    separation : distance of the class means in standard deviations; 0 is the null.
    nuisance : number of loud directions that say nothing about the class.

    Returns
    -------
    Stimuli of kind "vector": inputs float32 [n, width]; table column label (0 or 1, fair).

    Raises
    ------
    UsageError
        Sizes out of range.

    Notes
    -----
    Null: `separation=0` gives rows that are independent of the label.
    Misleads when variance is taken for importance: by design they point in different directions.

    Examples
    --------
    >>> s = gaussian(2000, separation=4.0)
    >>> x, y = s.inputs @ direction(16), torch.tensor(s.labels("label"))
    >>> bool(x[y == 1].mean() - x[y == 0].mean() > 3.5)
    True
    """
    if n < 1 or width < 2 or not 0 <= nuisance < width:
        raise UsageError(f"gaussian needs n >= 1, width >= 2, 0 <= nuisance < width; got {n}, {width}, {nuisance}.")
    import pandas as pd

    generator = rng(seed, "gaussian")
    axes = _axes(width, seed)
    scale = np.ones(width)
    scale[1 : nuisance + 1] = 5**0.5
    label = generator.integers(0, 2, n)
    rows = generator.standard_normal((n, width)) * scale
    rows[:, 0] += separation * (label - 0.5)
    inputs = torch.from_numpy((rows @ axes).astype(np.float32))
    return Stimuli(inputs, pd.DataFrame({"label": label}), kind="vector", name="gaussian")


def direction(width: int, seed: int = 0) -> torch.Tensor:
    """The unit direction [width] that separates the classes of `gaussian(..., seed)`."""
    return torch.from_numpy(_axes(width, seed)[0].astype(np.float32))


def _axes(width: int, seed: int) -> np.ndarray:
    """A random rotation, rows orthonormal; row 0 is the class direction, the next are the nuisances."""
    return np.linalg.qr(rng(seed, "gaussian", "axes").standard_normal((width, width)))[0].T

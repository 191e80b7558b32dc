"""Corrections for asking many questions at once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from microtome.errors import ShapeError, UsageError, nearest
from microtome.evidence._arrays import as_array, finite, matrix, share, vector
from microtome.evidence.null import TIE, check_alternative

if TYPE_CHECKING:
    import pandas as pd


def benjamini_hochberg(p: Any) -> np.ndarray:
    """Adjust p-values so that rejecting q <= alpha bounds the expected share of false discoveries by alpha.

    q_(i) = min_{j >= i} m p_(j) / j over the sorted p-values, at most 1.

    Parameters
    ----------
    p : array_like, any shape
        p-values in [0, 1]; the whole array is one family. An empty array gives an empty array.

    Returns
    -------
    ndarray, shape of p
        q-values.

    Raises
    ------
    NonFinite, UsageError
        When a p-value is NaN or outside [0, 1].

    Notes
    -----
    Null: with nothing to find, some q <= alpha in at most alpha of the families.
    Misleads when units are negatively dependent (use `benjamini_yekutieli`) or the family was cut down after looking.

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.02, 0.5]).round(3).tolist()
    [0.03, 0.03, 0.5]

    References
    ----------
    Benjamini and Hochberg (1995). Controlling the false discovery rate.
    """
    return _scipy_fdr(p, "bh")


def benjamini_yekutieli(p: Any) -> np.ndarray:
    """Adjust p-values for the false discovery rate under any dependence.

    The Benjamini-Hochberg q times sum_{i<=m} 1/i, at most 1.

    Parameters
    ----------
    p : array_like, any shape
        p-values in [0, 1]; the whole array is one family.

    Returns
    -------
    ndarray, shape of p
        q-values.

    Raises
    ------
    NonFinite, UsageError
        When a p-value is NaN or outside [0, 1].

    Notes
    -----
    Null: some q <= alpha in at most alpha of the families, whatever the dependence.
    Misleads when its conservatism (a factor of about log m) is read as absence of effects.

    Examples
    --------
    >>> benjamini_yekutieli([0.01, 0.02, 0.5]).round(3).tolist()
    [0.055, 0.055, 0.917]

    References
    ----------
    Benjamini and Yekutieli (2001). The control of the false discovery rate in multiple testing under dependency.
    """
    return _scipy_fdr(p, "by")


def holm(p: Any) -> np.ndarray:
    """Adjust p-values so that rejecting at alpha bounds the chance of any false rejection by alpha.

    p~_(i) = max_{j <= i} (m - j + 1) p_(j) over the sorted p-values, at most 1.

    Parameters
    ----------
    p : array_like, any shape
        p-values in [0, 1]; the whole array is one family.

    Returns
    -------
    ndarray, shape of p
        Adjusted p-values.

    Raises
    ------
    NonFinite, UsageError
        When a p-value is NaN or outside [0, 1].

    Notes
    -----
    Null: any adjusted p <= alpha in at most alpha of the families, whatever the dependence.
    Misleads when many units are tested with few draws: m / (1 + M) may exceed alpha, and nothing can be found.

    Examples
    --------
    >>> holm([0.01, 0.02, 0.5]).round(3).tolist()
    [0.03, 0.04, 0.5]

    References
    ----------
    Holm (1979). A simple sequentially rejective multiple test procedure.
    """
    p = _probabilities(p)
    flat = p.ravel()
    order = np.argsort(flat, kind="stable")
    steps = np.maximum.accumulate(flat[order] * np.arange(len(flat), 0, -1)) if len(flat) else flat
    adjusted = np.empty_like(flat)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted.reshape(p.shape)


def max_statistic(observed: Any, null: Any, *, alternative: str = "greater") -> np.ndarray:
    """Test each unit against the largest statistic over all units (Westfall and Young, single step).

    p_u = (1 + #{draws: max_v T*_v >= T_u}) / (1 + M); "less" uses the minimum, "two-sided" the absolute value.

    Parameters
    ----------
    observed : array_like [units]
        The statistic of each unit, on one common scale (z, t, AUROC), centred at 0 for "two-sided".
    null : array_like [M, units]
        Joint draws: one row per arrangement.
    alternative : {"greater", "less", "two-sided"}, default "greater"
        Which deviations count.

    Returns
    -------
    ndarray [units]
        p-values already corrected over units.

    Raises
    ------
    ShapeError, NonFinite, Degenerate, UsageError
        When shapes disagree, a value is NaN, there is no draw, or the alternative is unknown.

    Notes
    -----
    Null: any p <= alpha in alpha of the families, with the dependence between units kept.
    Misleads when units have different scales: the noisiest unit then sets the bar for all.

    Examples
    --------
    >>> max_statistic([3.0, 1.0], [[1.0, 0.0], [0.0, 2.0], [0.5, 0.5]]).tolist()
    [0.25, 0.75]

    References
    ----------
    Westfall and Young (1993). Resampling-based multiple testing.
    """
    check_alternative(alternative)
    observed, null = vector(observed, "observed"), matrix(null, "null draws")
    if null.shape[1] != len(observed):
        raise ShapeError(f"null draws must have shape [draws, {len(observed)}], got {list(null.shape)}.")
    if alternative == "two-sided":
        observed, null = np.abs(observed), np.abs(null)
    elif alternative == "less":
        observed, null = -observed, -null
    top = np.sort(null.max(1))
    slack = TIE * np.maximum(np.abs(observed), np.abs(top).max())
    reached = len(top) - np.searchsorted(top, observed - slack, side="left")
    return (1 + reached) / (1 + len(top))


CORRECTIONS = {"bh": benjamini_hochberg, "by": benjamini_yekutieli, "holm": holm}


def fdr_table(p: Any, names: Sequence[Any] | None = None, *, method: str = "bh", alpha: float = 0.05) -> "pd.DataFrame":
    """A table of units with p, corrected q, and whether q <= alpha.

    Parameters
    ----------
    p : array_like [units]
        p-values of one family.
    names : sequence of length units or None, default None
        Names of the units; 0..units-1 when None.
    method : {"bh", "by", "holm"}, default "bh"
        The correction.
    alpha : float, default 0.05
        Level of `rejected`.

    Returns
    -------
    DataFrame
        Columns unit, p, q, rejected, in the order given.

    Raises
    ------
    NonFinite, UsageError, ShapeError
        When a p-value is NaN or outside [0, 1], the method is unknown, or names and p differ in length.

    Notes
    -----
    Null: no row is rejected in at least 1 - alpha of the families.
    Misleads when several tables of one study are read as if each were the only one.

    Examples
    --------
    >>> fdr_table([0.001, 0.4], ["a", "b"]).rejected.tolist()
    [True, False]
    """
    import pandas as pd

    if method not in CORRECTIONS:
        raise UsageError(f"method must be one of {list(CORRECTIONS)}, got {method!r}.{nearest(str(method), CORRECTIONS)}")
    p = _probabilities(p)
    if p.ndim != 1:
        raise ShapeError(f"p must have shape [units], got {list(p.shape)}. Flatten it and name the units.")
    names = range(len(p)) if names is None else list(names)
    if len(names) != len(p):
        raise ShapeError(f"names must hold one name per p-value: {len(p)} p-values, {len(names)} names.")
    q = CORRECTIONS[method](p)
    return pd.DataFrame({"unit": list(names), "p": p, "q": q, "rejected": q <= share(alpha, "alpha")})


def _probabilities(p: Any) -> np.ndarray:
    p = finite(as_array(p, "p") if np.size(p) else np.zeros(np.shape(p)), "p").astype(np.float64)
    if p.size and (p.min() < 0 or p.max() > 1):
        raise UsageError(f"p-values must lie in [0, 1], found {p.min():.4g}..{p.max():.4g}.")
    return p


def _scipy_fdr(p: Any, method: str) -> np.ndarray:
    from scipy.stats import false_discovery_control

    p = _probabilities(p)
    return false_discovery_control(p, axis=None, method=method).reshape(p.shape) if p.size else p

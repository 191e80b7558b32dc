"""Tests of association: rows shuffled, or a series shifted in a circle."""

from typing import Any

import numpy as np

from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.evidence._arrangements import all_permutations, count_permutations, row_permutations
from microtome.evidence._arrays import codes, count, matrix, vector
from microtome.evidence.family import NullFamily
from microtome.evidence.null import Null, check_alternative, require_draws
from microtome.rng import rng


def correlation_test(
    x: Any, y: Any, *, method: str = "pearson", blocks: Any = None, alternative: str = "two-sided",
    draws: int = 1999, seed: int = 0,
) -> Null:
    """Test whether x and y are associated.

    T = correlation(x, y), against the correlation after shuffling the rows of y (within blocks, when given).

    Parameters
    ----------
    x, y : array_like [n]
        Paired values, n >= 3.
    method : {"pearson", "spearman"}, default "pearson"
        Correlation of the values or of their ranks.
    blocks : array_like [n] or None, default None
        Rows are shuffled within their block only.
    alternative : {"greater", "less", "two-sided"}, default "two-sided"
        "greater": positive association.
    draws : int, default 1999
        Random shuffles; all are used, and p is exact, when they number at most draws + 1.
    seed : int, default 0
        Seed of the shuffles.

    Returns
    -------
    Null
        Observed correlation and its draws.

    Raises
    ------
    Degenerate, NonFinite, ShapeError, UsageError
        When x or y is constant, too short or NaN, lengths differ, or an argument is outside its range.

    Notes
    -----
    Null: p is uniform when rows are exchangeable.
    Misleads when rows are ordered in time: both series drift, and p is far too small. Use `circular_shift_test`.

    Examples
    --------
    >>> round(correlation_test([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], alternative="greater").p, 4)
    0.0417
    """
    x = vector(x, "x")
    return correlation_family(x, y, method=method, blocks=blocks, alternative=alternative, draws=draws, seed=seed).null(0)


def correlation_family(
    x: Any, y: Any, *, method: str = "pearson", blocks: Any = None, alternative: str = "two-sided",
    draws: int = 1999, seed: int = 0,
) -> NullFamily:
    """Test the association of y with many units at once, with the same shuffles for all units.

    T_u = correlation(x_u, y); one matrix product gives all draws of all units.

    Parameters
    ----------
    x : array_like [n, units]
        Values of the units.
    y : array_like [n]
        The property.
    method : {"pearson", "spearman"}, default "pearson"
        Correlation of the values or of their ranks.
    blocks : array_like [n] or None, default None
        Rows are shuffled within their block only.
    alternative : {"greater", "less", "two-sided"}, default "two-sided"
        "greater": positive association.
    draws : int, default 1999
        Random shuffles; all are used when they number at most draws + 1.
    seed : int, default 0
        Seed of the shuffles.

    Returns
    -------
    NullFamily
        Observed correlations [units] and joint draws [M, units].

    Raises
    ------
    Degenerate, NonFinite, ShapeError, UsageError
        As `correlation_test`.

    Notes
    -----
    Null: p of each unit is uniform; `p_max` controls any false unit.
    Misleads when rows are ordered in time.

    Examples
    --------
    >>> correlation_family([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]], [1.0, 2.0, 3.0]).observed.round(6).tolist()
    [1.0, -1.0]
    """
    check_alternative(alternative)
    draws = count(draws, "draws")
    x, y = _standard(x, y, method)
    groups = np.zeros(len(y), dtype=int) if blocks is None else codes(blocks, len(y), "blocks")
    number = count_permutations(groups)
    if number <= draws + 1:
        null, how = y[all_permutations(len(y), groups)] @ x, f"all {number} shuffles"
    else:
        shuffles = row_permutations(len(y), draws, rng(seed, "correlation"), None if blocks is None else groups)
        null, how = np.concatenate([y[p] @ x for p in shuffles]), "random shuffles"
    where = "" if blocks is None else " within blocks"
    return NullFamily(f"rows shuffled{where} ({method}, {how})", require_draws(null, "correlation_test"), y @ x, alternative)


def circular_shift_test(
    x: Any, y: Any, *, method: str = "pearson", alternative: str = "two-sided", draws: int = 1999, seed: int = 0
) -> Null:
    """Test whether two autocorrelated series are associated.

    T = correlation(x, y), against the correlation after shifting y in a circle: each series keeps its autocorrelation.

    Parameters
    ----------
    x, y : array_like [n]
        Series over time or position, n >= 3, stationary.
    method : {"pearson", "spearman"}, default "pearson"
        Correlation of the values or of their ranks.
    alternative : {"greater", "less", "two-sided"}, default "two-sided"
        "greater": positive association.
    draws : int, default 1999
        Shifts, drawn without repetition; all n - 1 are used when there are no more.
    seed : int, default 0
        Seed of the drawn shifts.

    Returns
    -------
    Null
        Observed correlation and its draws.

    Raises
    ------
    Degenerate, NonFinite, ShapeError, UsageError
        When a series is constant, too short or NaN, lengths differ, or an argument is outside its range.

    Notes
    -----
    Null: p is uniform for stationary series; exactly so when they are circular.
    Misleads when the series trend, or are only a few autocorrelation times long. n - 1 shifts bound p below by 1/n,
    or 2/n two-sided: a two-sided test at 0.05 needs n >= 40.

    Examples
    --------
    >>> t = np.arange(40)
    >>> circular_shift_test(np.exp(-t), np.exp(-t), alternative="greater").p
    0.025

    References
    ----------
    Harris (2020). Nonsense correlations in neuroscience. https://doi.org/10.1101/2020.11.29.402719
    """
    x = vector(x, "x")
    return circular_shift_family(x, y, method=method, alternative=alternative, draws=draws, seed=seed).null(0)


def circular_shift_family(
    x: Any, y: Any, *, method: str = "pearson", alternative: str = "two-sided", draws: int = 1999, seed: int = 0
) -> NullFamily:
    """Test the association of a series with many autocorrelated units at once.

    T_u = correlation(x_u, y); one Fourier transform gives the correlations at all shifts.

    Parameters
    ----------
    x : array_like [n, units]
        Series of the units.
    y : array_like [n]
        The property over the same time or positions.
    method : {"pearson", "spearman"}, default "pearson"
        Correlation of the values or of their ranks.
    alternative : {"greater", "less", "two-sided"}, default "two-sided"
        "greater": positive association.
    draws : int, default 1999
        Shifts, drawn without repetition; all n - 1 are used when there are no more.
    seed : int, default 0
        Seed of the drawn shifts.

    Returns
    -------
    NullFamily
        Observed correlations [units] and joint draws [M, units].

    Raises
    ------
    Degenerate, NonFinite, ShapeError, UsageError
        As `circular_shift_test`.

    Notes
    -----
    Null: p of each unit is uniform for stationary series; `p_max` controls any false unit.
    Misleads when the series trend.

    Examples
    --------
    >>> len(circular_shift_family([[1.0], [0.0], [0.0], [2.0]], [1.0, 0.0, 0.0, 2.0]).statistics)
    3
    """
    check_alternative(alternative)
    draws = count(draws, "draws")
    x, y = _standard(x, y, method)
    shifts = np.arange(1, len(y))
    if len(shifts) > draws:
        shifts = np.sort(rng(seed, "circular_shift").choice(shifts, draws, replace=False))
    spectrum = np.fft.rfft(x, axis=0) * np.conj(np.fft.rfft(y))[:, None]
    null = np.fft.irfft(spectrum, n=len(y), axis=0)[shifts]  # row s: sum over t of x[t] y[t - s]
    how = "all shifts" if len(shifts) == len(y) - 1 else "random shifts"
    return NullFamily(f"series shifted in a circle ({method}, {how})", null, y @ x, alternative)


def _standard(x: Any, y: Any, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Centred columns of unit length, so that a product of two is their correlation."""
    if method not in ("pearson", "spearman"):
        raise UsageError(f"method must be 'pearson' or 'spearman', got {method!r}.")
    x, y = matrix(x, "x", least=3), vector(y, "y", least=3)
    if len(x) != len(y):
        raise ShapeError(f"x and y must have the same rows, got {len(x)} and {len(y)}.")
    if method == "spearman":
        from scipy.stats import rankdata

        x, y = rankdata(x, axis=0), rankdata(y)
    return _unit_length(x, "x"), _unit_length(y[:, None], "y")[:, 0]


def _unit_length(values: np.ndarray, name: str) -> np.ndarray:
    flat = np.flatnonzero(values.max(0) == values.min(0))
    if len(flat):
        which = "" if values.shape[1] == 1 else f" in {len(flat)} units, the first is unit {flat[0]}"
        raise Degenerate(f"{name} is constant{which}; a correlation needs variation. Leave these out.")
    centred = values - values.mean(0)
    centred = centred / np.abs(centred).max(0)  # so that squares of very small or large values stay in range
    return centred / np.sqrt((centred**2).sum(0))

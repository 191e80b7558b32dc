"""Intervals by resampling the right unit: rows, pairs, or clusters (documents, templates, sessions)."""

from collections.abc import Callable
from typing import Any

import numpy as np

from microtome.errors import Degenerate, ShapeError
from microtome.evidence._arrays import codes
from microtome.evidence._resample import estimate, function_of, of_rows, one_by_one, one_column, sample
from microtome.evidence.estimate import Estimate

Statistic = str | Callable[..., Any]


def bootstrap(
    values: Any, *, statistic: Statistic = "mean", level: float = 0.95, draws: int = 2000,
    method: str = "percentile", unit: str = "", seed: int = 0,
) -> Estimate:
    """Estimate a statistic with a bootstrap interval over independent rows.

    Rows are drawn with replacement; the interval is made of quantiles of the statistic over draws.

    Parameters
    ----------
    values : array_like [n] or [n, ...]
        One row per independent unit, n >= 2.
    statistic : "mean" or callable, default "mean"
        A callable takes resampled rows and returns a number; one that takes `axis` (like np.median) is called once.
    level : float, default 0.95
        Nominal coverage.
    draws : int, default 2000
        Bootstrap draws.
    method : {"percentile", "bca", "basic"}, default "percentile"
        How the interval is made; "bca" corrects bias and skewness and costs n more evaluations.
    unit : str, default ""
        Unit of measurement.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    Estimate
        n is the number of rows. Constant values give an interval of width 0, and `method` says so.

    Raises
    ------
    Degenerate, NonFinite, ShapeError, UsageError
        When there are fewer than two rows, a NaN (also from the statistic), or an argument is outside its range.

    Notes
    -----
    Null: an interval covers the truth at about `level`; a little less below 30 rows or for skewed values.
    Misleads when rows are dependent (positions of one document): use `cluster_bootstrap`.

    Examples
    --------
    >>> e = bootstrap([1.0, 2.0, 3.0, 4.0])
    >>> e.value, 1.0 <= e.low < 2.5 < e.high <= 4.0
    (2.5, True)

    References
    ----------
    Efron and Tibshirani (1993). An introduction to the bootstrap.
    """
    values = sample(values, "values")
    whole = np.arange(len(values))
    if statistic == "mean":
        one_column(values, "values")

        def of(index: np.ndarray, axis: int = -1) -> np.ndarray:
            return values[index].mean(axis)
    else:
        of = of_rows(function_of(statistic), values)
    constant = bool((values == values[:1]).all())
    return estimate(of, whole, level, draws, method, unit, seed, "bootstrap", constant)


def paired_bootstrap(
    a: Any, b: Any, *, statistic: Statistic = "mean", level: float = 0.95, draws: int = 2000,
    method: str = "percentile", unit: str = "", seed: int = 0,
) -> Estimate:
    """Estimate a statistic of two paired samples with an interval over pairs.

    "mean" estimates mean(a - b); a callable takes resampled a and b. The same rows are drawn from both.

    Parameters
    ----------
    a, b : array_like [n]
        Paired values, n >= 2.
    statistic : "mean" or callable, default "mean"
        A callable takes (a, b) and returns a number, e.g. a correlation or a ratio of means.
    level : float, default 0.95
        Nominal coverage.
    draws : int, default 2000
        Bootstrap draws.
    method : {"percentile", "bca", "basic"}, default "percentile"
        How the interval is made.
    unit : str, default ""
        Unit of measurement.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    Estimate
        n is the number of pairs.

    Raises
    ------
    Degenerate, NonFinite, ShapeError, UsageError
        When there are fewer than two pairs, lengths differ, a NaN, or an argument is outside its range.

    Notes
    -----
    Null: the interval of the mean difference holds 0 at about `level`.
    Misleads when pairs share a document: use `cluster_bootstrap` on the differences.

    Examples
    --------
    >>> paired_bootstrap([2.0, 3.0, 5.0], [1.0, 2.0, 3.0]).value.__round__(3)
    1.333
    """
    a, b = sample(a, "a"), sample(b, "b")
    if a.shape != b.shape:
        raise ShapeError(f"a and b must be paired, got shapes {list(a.shape)} and {list(b.shape)}.")
    if statistic == "mean":
        return bootstrap(a - b, level=level, draws=draws, method=method, unit=unit, seed=seed)
    both = function_of(statistic)
    of = one_by_one(lambda index: both(a[index], b[index]))
    constant = bool((a == a[:1]).all() and (b == b[:1]).all())
    return estimate(of, np.arange(len(a)), level, draws, method, unit, seed, "paired bootstrap", constant)


def cluster_bootstrap(
    values: Any, clusters: Any, *, statistic: Statistic = "mean", level: float = 0.95, draws: int = 2000,
    method: str = "percentile", unit: str = "", seed: int = 0,
) -> Estimate:
    """Estimate a statistic with an interval over clusters of rows.

    Whole clusters are drawn with replacement; all their rows come along, so dependence within a cluster is kept.

    Parameters
    ----------
    values : array_like [n] or [n, ...]
        Values of the rows.
    clusters : array_like [n]
        Cluster of each row (document, template, session), at least two clusters.
    statistic : "mean" or callable, default "mean"
        Mean over rows, or a callable that takes the resampled rows and returns a number.
    level : float, default 0.95
        Nominal coverage.
    draws : int, default 2000
        Bootstrap draws.
    method : {"percentile", "bca", "basic"}, default "percentile"
        How the interval is made.
    unit : str, default ""
        Unit of measurement.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    Estimate
        n is the number of clusters.

    Raises
    ------
    Degenerate, NonFinite, ShapeError, UsageError
        When there are fewer than two clusters, a NaN, or an argument is outside its range.

    Notes
    -----
    Null: an interval covers the truth at about `level` with 20 clusters or more.
    Misleads when clusters are few: with 5 of them it covers far less.

    Examples
    --------
    >>> cluster_bootstrap([1.0, 1.0, 3.0, 3.0], ["a", "a", "b", "b"]).n
    2
    """
    values = sample(values, "values", least=1)
    group = codes(clusters, len(values), "clusters")
    number = int(group.max()) + 1
    if number < 2:
        raise Degenerate(f"cluster_bootstrap needs at least 2 clusters, found {number}. See bootstrap().")
    if statistic == "mean":
        one_column(values, "values")
        sizes, sums = np.bincount(group), np.bincount(group, weights=values)

        def of(index: np.ndarray, axis: int = -1) -> np.ndarray:
            return sums[index].sum(axis) / sizes[index].sum(axis)
    else:
        once = function_of(statistic)
        members = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
        of = one_by_one(lambda index: once(values[np.concatenate([members[i] for i in index])]))
    constant = bool((values == values[:1]).all())
    what = f"cluster bootstrap of {len(values)} rows"
    return estimate(of, np.arange(number), level, draws, method, unit, seed, what, constant)

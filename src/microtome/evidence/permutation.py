"""Permutation tests of a difference: two samples, and paired differences."""

from typing import Any

import numpy as np

from microtome.errors import ShapeError
from microtome.evidence._arrangements import all_signs, all_splits, count_splits, row_permutations
from microtome.evidence._arrays import chunks, codes, count, matrix, vector
from microtome.evidence.family import NullFamily
from microtome.evidence.null import Null, check_alternative, require_draws
from microtome.rng import rng


def permutation_test(
    a: Any, b: Any, *, blocks: tuple[Any, Any] | None = None, alternative: str = "two-sided", draws: int = 1999, seed: int = 0
) -> Null:
    """Test whether two samples have the same distribution, by their difference of means.

    T = mean(a) - mean(b), against T after shuffling which row belongs to which sample (within blocks, when given).

    Parameters
    ----------
    a, b : array_like [n], [m]
        The two samples.
    blocks : pair of array_like [n], [m] or None, default None
        Block of each row (document, session, template); rows are exchanged within their block only.
    alternative : {"greater", "less", "two-sided"}, default "two-sided"
        "greater": mean(a) > mean(b).
    draws : int, default 1999
        Random arrangements; all of them are used instead, and p is exact, when they number at most draws + 1.
    seed : int, default 0
        Seed of the arrangements.

    Returns
    -------
    Null
        Observed difference and its draws.

    Raises
    ------
    Degenerate, NonFinite, ShapeError, UsageError
        When a sample is empty or NaN, no other arrangement exists, or an argument is outside its range.

    Notes
    -----
    Null: p is uniform when rows are exchangeable between the samples.
    Misleads when rows of one document are correlated and no blocks are given, or when variances differ and sizes too.

    Examples
    --------
    >>> permutation_test([3.0, 4.0, 5.0], [0.0, 1.0, 2.0], alternative="greater").p
    0.05

    References
    ----------
    Phipson and Smyth (2010). Permutation p-values should never be zero.
    """
    a, b = vector(a, "a"), vector(b, "b")
    return permutation_family(a, b, blocks=blocks, alternative=alternative, draws=draws, seed=seed).null(0)


def permutation_family(
    a: Any, b: Any, *, blocks: tuple[Any, Any] | None = None, alternative: str = "two-sided", draws: int = 1999, seed: int = 0
) -> NullFamily:
    """Test two samples of many units at once, with the same arrangements for all units.

    T_u = mean(a_u) - mean(b_u); one matrix product gives all draws of all units.

    Parameters
    ----------
    a, b : array_like [n, units], [m, units]
        The two samples.
    blocks : pair of array_like [n], [m] or None, default None
        Block of each row; rows are exchanged within their block only.
    alternative : {"greater", "less", "two-sided"}, default "two-sided"
        "greater": mean(a) > mean(b).
    draws : int, default 1999
        Random arrangements; all are used when they number at most draws + 1.
    seed : int, default 0
        Seed of the arrangements.

    Returns
    -------
    NullFamily
        Observed differences [units] and joint draws [M, units].

    Raises
    ------
    Degenerate, NonFinite, ShapeError, UsageError
        As `permutation_test`; also when a and b differ in units.

    Notes
    -----
    Null: p of each unit is uniform; `p_max` controls any false unit.
    Misleads when units are ranked by p and the best is reported without `q` or `p_max`.

    Examples
    --------
    >>> permutation_family([[3.0, 0.0], [4.0, 1.0]], [[0.0, 0.0], [1.0, 1.0]]).observed.tolist()
    [3.0, 0.0]
    """
    a, b = matrix(a, "a"), matrix(b, "b")
    if a.shape[1] != b.shape[1]:
        raise ShapeError(f"a and b must hold the same units, got {a.shape[1]} and {b.shape[1]}.")
    check_alternative(alternative)
    draws = count(draws, "draws")
    values = np.concatenate([a, b])
    values = values - values.mean(0)  # a shift changes no difference, and keeps the sums small
    first = np.arange(len(values)) < len(a)
    groups = np.zeros(len(values), dtype=int) if blocks is None else _pair_of_codes(blocks, len(a), len(b))

    number = count_splits(first, groups)
    if number <= draws + 1:
        null, how = _differences(all_splits(first, groups), values), f"all {number} arrangements"
    else:
        shuffles = row_permutations(len(values), draws, rng(seed, "permutation"), None if blocks is None else groups)
        null, how = np.concatenate([_differences(first[p], values) for p in shuffles]), "random arrangements"
    where = "" if blocks is None else " within blocks"
    kind = f"samples shuffled{where} ({how})"
    return NullFamily(kind, require_draws(null, "permutation_test"), _differences(first[None], values)[0], alternative)


def sign_flip_test(differences: Any, *, alternative: str = "two-sided", draws: int = 1999, seed: int = 0) -> Null:
    """Test whether paired differences are symmetric about zero, by their mean.

    T = mean(d), against T after flipping the sign of each difference with probability 1/2.

    Parameters
    ----------
    differences : array_like [n]
        One difference per independent pair.
    alternative : {"greater", "less", "two-sided"}, default "two-sided"
        "greater": the mean is positive.
    draws : int, default 1999
        Random sign vectors; all 2**n are used, and p is exact, when they number at most draws + 1.
    seed : int, default 0
        Seed of the signs.

    Returns
    -------
    Null
        Observed mean and its draws.

    Raises
    ------
    Degenerate, NonFinite, ShapeError, UsageError
        When there is no row, a NaN, or an argument is outside its range.

    Notes
    -----
    Null: p is uniform when differences are independent and symmetric about 0. All-zero differences give p = 1.
    Misleads when pairs share a document: average within documents first.

    Examples
    --------
    >>> sign_flip_test([1.0, 2.0, 3.0, 4.0, 5.0], alternative="greater").p
    0.03125
    """
    values = vector(differences, "differences")
    return sign_flip_family(values, alternative=alternative, draws=draws, seed=seed).null(0)


def sign_flip_family(differences: Any, *, alternative: str = "two-sided", draws: int = 1999, seed: int = 0) -> NullFamily:
    """Test paired differences of many units at once, with the same signs for all units.

    T_u = mean(d_u), against the mean after random sign flips of whole rows.

    Parameters
    ----------
    differences : array_like [n, units]
        One row per independent pair.
    alternative : {"greater", "less", "two-sided"}, default "two-sided"
        "greater": the mean is positive.
    draws : int, default 1999
        Random sign vectors; all 2**n are used when they number at most draws + 1.
    seed : int, default 0
        Seed of the signs.

    Returns
    -------
    NullFamily
        Observed means [units] and joint draws [M, units].

    Raises
    ------
    Degenerate, NonFinite, ShapeError, UsageError
        As `sign_flip_test`.

    Notes
    -----
    Null: p of each unit is uniform; `p_max` controls any false unit.
    Misleads when pairs share a document.

    Examples
    --------
    >>> sign_flip_family([[1.0, -1.0], [2.0, 1.0]]).observed.tolist()
    [1.5, 0.0]
    """
    values = matrix(differences, "differences")
    check_alternative(alternative)
    draws, rows = count(draws, "draws"), len(values)
    if rows < 60 and 2**rows <= draws + 1:
        null, how = all_signs(rows) @ values / rows, f"all {2**rows} sign vectors"
    else:
        generator = rng(seed, "sign_flip")
        signs = (1.0 - 2.0 * generator.integers(0, 2, (size, rows)) for size in chunks(draws, rows))
        null, how = np.concatenate([s @ values / rows for s in signs]), "random sign vectors"
    return NullFamily(f"signs flipped ({how})", null, values.mean(0), alternative)


def _differences(first: np.ndarray, values: np.ndarray) -> np.ndarray:
    """mean over first - mean over the rest; first bool [draws, rows], values [rows, units]."""
    size = first[0].sum() if len(first) else 1
    sums = first.astype(np.float64) @ values
    return sums / size - (values.sum(0) - sums) / (first.shape[1] - size)


def _pair_of_codes(blocks: Any, n: int, m: int) -> np.ndarray:
    if not isinstance(blocks, (tuple, list)) or len(blocks) != 2:
        raise ShapeError(f"blocks must be a pair (blocks of a [{n}], blocks of b [{m}]), got {type(blocks).__name__}.")
    return codes(np.concatenate([np.asarray(blocks[0]).ravel(), np.asarray(blocks[1]).ravel()]), n + m, "blocks")

"""Nulls by choice: random sets matched to the chosen one, and the best of as many random candidates."""

from typing import Any

import numpy as np

from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.evidence._arrays import chunks, codes, count, vector
from microtome.evidence.null import Null
from microtome.rng import rng


def matched_random(chosen: Any, strata: Any, *, draws: int = 100, disjoint: bool = True, seed: int = 0) -> list[np.ndarray]:
    """Draw random sets of units with as many units in each stratum as the chosen set has.

    Each draw takes k_s units of stratum s without repetition, where k_s is the number of chosen units in s.

    Parameters
    ----------
    chosen : array_like of int [k]
        Indices of the chosen units, distinct.
    strata : array_like [units]
        Stratum of every unit (layer, module, magnitude bin).
    draws : int, default 100
        Number of random sets.
    disjoint : bool, default True
        Whether the chosen units themselves are kept out of the random sets.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    list of ndarray of int [k]
        Sorted indices, one array per draw.

    Raises
    ------
    Degenerate, UsageError, ShapeError
        When a stratum has too few other units, nothing is chosen, or an index is repeated or out of range.

    Notes
    -----
    Null: a set chosen at random has the effect of its matched sets; with disjoint=False the test is exact.
    Misleads when the chosen units differ from their stratum in size or activity: use finer strata.

    Examples
    --------
    >>> [len(s) for s in matched_random([0, 1], [0, 0, 0, 0, 1, 1], draws=3)]
    [2, 2, 2]
    """
    strata = codes(strata, np.size(strata), "strata")
    chosen = _indices(chosen, len(strata))
    draws, generator = count(draws, "draws"), rng(seed, "matched_random")
    parts = []
    for stratum in np.unique(strata[chosen]):
        wanted = int((strata[chosen] == stratum).sum())
        pool = np.flatnonzero(strata == stratum)
        pool = np.setdiff1d(pool, chosen) if disjoint else pool
        if len(pool) < wanted:
            raise Degenerate(
                f"Stratum {stratum} holds {len(pool)} units to draw from and {wanted} are needed. "
                "Use coarser strata, choose fewer units, or pass disjoint=False."
            )
        keys = [generator.random((size, len(pool))) for size in chunks(draws, len(pool))]
        parts.append(np.concatenate([pool[np.argsort(key, axis=1)[:, :wanted]] for key in keys]))
    return list(np.sort(np.concatenate(parts, axis=1), axis=1))


def best_of_k(scores: Any, observed: float, k: int, *, draws: int = 1999, seed: int = 0) -> Null:
    """Compare the best of k candidates with the best of k random candidates.

    Each draw is the largest of k scores taken without repetition from the random candidates' scores.

    Parameters
    ----------
    scores : array_like [m]
        Scores of random candidates (units of a random network, random descriptions), m >= k; m >> k is better.
    observed : float
        Score of the winner among the k real candidates.
    k : int
        How many real candidates were tried.
    draws : int, default 1999
        Number of draws.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    Null
        Alternative "greater".

    Raises
    ------
    Degenerate, NonFinite, ShapeError, UsageError
        When there are fewer random candidates than k, a score is NaN, or an argument is outside its range.

    Notes
    -----
    Null: p is uniform when the k real candidates score like random ones and m is much larger than k.
    Misleads when k leaves out candidates that were tried and dropped. With m near k, p is either near 1 or at its floor.

    Examples
    --------
    >>> best_of_k(np.linspace(0, 1, 1000), observed=0.9, k=50).p > 0.9
    True
    """
    ordered = np.sort(vector(scores, "scores"))
    k, draws, m = count(k, "k"), count(draws, "draws"), len(ordered)
    if m < k:
        raise Degenerate(f"best_of_k needs at least k = {k} random candidates, got {m}. Score more of them.")
    from scipy.special import gammaln

    ranks = np.arange(k, m + 1)  # P(largest is among the lowest j) = C(j, k) / C(m, k)
    log_share = gammaln(ranks + 1) - gammaln(ranks - k + 1) - gammaln(m + 1) + gammaln(m - k + 1)
    picks = np.searchsorted(log_share, np.log(1.0 - rng(seed, "best_of_k").random(draws)))
    return Null(f"best of {k} among {m} random candidates", ordered[k - 1 + np.minimum(picks, m - k)], observed, "greater")


def _indices(chosen: Any, units: int) -> np.ndarray:
    if hasattr(chosen, "detach"):
        chosen = chosen.detach().cpu().numpy()
    chosen = np.asarray(chosen)
    if chosen.ndim != 1:
        raise ShapeError(f"chosen must be a list of unit indices, got shape {list(chosen.shape)}.")
    if chosen.size == 0:
        raise Degenerate("chosen is empty: there is nothing to match. Choose at least one unit.")
    if chosen.dtype.kind not in "iu" or chosen.min() < 0 or chosen.max() >= units or len(np.unique(chosen)) != len(chosen):
        raise UsageError(f"chosen must hold distinct indices in 0..{units - 1}, got {chosen[:10].tolist()}.")
    return chosen.astype(int)

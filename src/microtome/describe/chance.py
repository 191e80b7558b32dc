"""The null of descriptions: the same predicates and the same values, out of step."""

from dataclasses import dataclass

import numpy as np

from microtome.describe.search import standardised
from microtome.rng import rng

#: Documents exchanged with each other: those of nearest length, so that beginnings keep meeting beginnings.
STRATUM = 8
#: Quantiles kept of each unit's draws.
KEEP = 99


@dataclass(frozen=True)
class Chance:
    """The null of all units: p [units], quantiles [99, units] of their draws, and of the mean over units [99]."""

    p: np.ndarray
    thinned: np.ndarray
    mean: np.ndarray


def chance(truth: np.ndarray, values: np.ndarray, groups: np.ndarray, draws: int, seed: int) -> Chance:
    """What the correlations are when each predicate meets the values of other documents.

    Documents are exchanged among those of similar length, and the values of each are shifted in a circle: the
    autocorrelation within documents and differences between documents stay, the link to the text is broken.

    Parameters
    ----------
    truth : bool ndarray [rows, units]
        Each unit's predicate.
    values : float ndarray [rows, units]
        The units.
    groups : ndarray [rows]
        Document of each row.
    draws : int
        How often; the same arrangement for all units in each draw.
    seed : int
        Exchanges and shifts.

    Returns
    -------
    Chance
        ``p = (1 + #{draw >= observed}) / (1 + draws)``, one-sided.
    """
    rows, units = values.shape
    documents = _documents(groups)
    slots = np.concatenate(documents)
    flat = np.ascontiguousarray(standardised(values).T).ravel()  # one unit after the other: a draw reads a unit at a time
    held = truth[slots]
    share = held.mean(axis=0)
    few = held != (share > 0.5)  # the rarer side is summed; the sum of all values is 0
    unit, slot = np.nonzero(few.T)
    sums = np.zeros((draws + 1, units))
    spread = np.sqrt(share * (1 - share)) * rows * np.where(share > 0.5, -1.0, 1.0)
    if len(unit):
        base, starts = unit * rows, np.flatnonzero(np.diff(unit, prepend=-1))
        generator = rng(seed, "describe.null")
        for draw in range(draws + 1):
            order = _exchanged(documents, generator) if draw else slots
            sums[draw, unit[starts]] = np.add.reduceat(flat[base + order[slot]], starts, dtype=np.float64)
    r = np.divide(sums, spread, out=np.zeros_like(sums), where=spread != 0)
    observed, null = r[0], r[1:]
    p = (1 + (null >= observed - 1e-9).sum(axis=0)) / (1 + draws)
    levels = (np.arange(KEEP) + 0.5) / KEEP
    return Chance(p, np.quantile(null, levels, axis=0), np.quantile(null.mean(axis=1), levels))


def _documents(groups: np.ndarray) -> list[np.ndarray]:
    """Rows of each document, in order of length."""
    order = np.argsort(groups, kind="stable")
    documents = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    return sorted(documents, key=len)


def _exchanged(documents: list[np.ndarray], generator: np.random.Generator) -> np.ndarray:
    """Row numbers: documents exchanged within strata of similar length, each shifted in a circle."""
    count = len(documents)
    strata = np.arange(count) // STRATUM
    strata = np.minimum(strata, max(0, count // STRATUM - 1))  # a short last stratum joins the one before
    order = np.lexsort((generator.random(count), strata))
    shift = (generator.random(count) * [len(d) for d in documents]).astype(int)
    return np.concatenate([np.concatenate([documents[i][shift[i] :], documents[i][: shift[i]]]) for i in order])

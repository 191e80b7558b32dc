"""Predicates judged on documents that the search did not see: score, interval, null, precision and recall."""

from dataclasses import dataclass

import numpy as np

from microtome.describe.search import standardised
from microtome.rng import rng

#: Draws of the bootstrap over documents.
BOOTSTRAP = 400
#: Units per Fourier transform: bounds memory.
CHUNK = 64


@dataclass(frozen=True)
class Chance:
    """The null of all units: p [units], thinned draws [99, units] of each, and draws of their mean [99]."""

    p: np.ndarray
    thinned: np.ndarray
    mean: np.ndarray


def correlation(truth: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Correlation of each predicate with its unit: [units] from bool[rows, units] and values [rows, units]; 0 if constant."""
    return (standardised(truth).astype(np.float64) * standardised(values)).mean(axis=0)


def intervals(truth: np.ndarray, values: np.ndarray, groups: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """95% percentile intervals of `correlation`, documents drawn with replacement: low and high [units]."""
    number = np.unique(groups, return_inverse=True)[1]
    count = int(number.max()) + 1
    x, y = standardised(values).astype(np.float64), truth.astype(np.float64)
    parts = np.stack([_sums(part, number, count) for part in (x, x * x, y, x * y)])  # [4, documents, units]
    rows = np.bincount(number, minlength=count).astype(np.float64)
    weights = rng(seed, "describe.bootstrap").multinomial(count, np.full(count, 1 / count), size=BOOTSTRAP).astype(np.float64)
    n = (weights @ rows)[:, None]
    ex, exx, ey, exy = ((weights @ part) / n for part in parts)
    spread = np.sqrt(np.clip(exx - ex**2, 0, None) * np.clip(ey - ey**2, 0, None))
    r = np.divide(exy - ex * ey, spread, out=np.zeros_like(spread), where=spread > 1e-9)
    low, high = np.percentile(r, [2.5, 97.5], axis=0)
    return low, high


def chance(truth: np.ndarray, values: np.ndarray, groups: np.ndarray, draws: int, seed: int, keep: int = 99) -> Chance:
    """What the correlations are when predicates and values are out of step.

    Documents are put in a random order, each is shifted in a circle by itself, and the whole is turned against the values:
    all turns come from one Fourier transform. Autocorrelation within documents is kept; the link to the text is broken.

    Parameters
    ----------
    truth : bool ndarray [rows, units]
        Each unit's predicate.
    values : float ndarray [rows, units]
        The units.
    groups : ndarray [rows]
        Documents.
    draws : int
        At least this many draws.
    seed : int
        Orders and shifts.
    keep : int, default 99
        Quantiles kept of each unit's draws.

    Returns
    -------
    Chance
        ``p = (1 + #{draw >= observed}) / (1 + draws)``, one-sided.
    """
    from scipy import fft

    rows, units = values.shape
    x, y = standardised(values), standardised(truth)
    observed = (x.astype(np.float64) * y).mean(axis=0)
    generator = rng(seed, "describe.null")
    arrangements = [_arrangement(groups, generator) for _ in range(max(2, -(-draws // rows)))]
    total = len(arrangements) * rows
    reached, thinned, mean = np.zeros(units), np.zeros((keep, units)), np.zeros((len(arrangements), rows))
    levels = (np.arange(keep) + 0.5) / keep
    for lo in range(0, units, CHUNK):
        part = slice(lo, lo + CHUNK)
        spectrum = np.conj(fft.rfft(y[:, part], axis=0))
        null = np.concatenate([fft.irfft(fft.rfft(x[order, part], axis=0) * spectrum, n=rows, axis=0) for order in arrangements])
        null /= rows
        slack = 1e-6 + 1e-6 * np.abs(observed[part])
        reached[part] = (null >= observed[part] - slack).sum(axis=0)
        mean += null.sum(axis=1).reshape(mean.shape)
        places = np.minimum((levels * total).astype(int), total - 1)
        thinned[:, part] = np.partition(null, places, axis=0)[places]
    p = (1 + reached) / (1 + total)
    return Chance(p, thinned, np.sort(mean.ravel() / units)[np.minimum((levels * total).astype(int), total - 1)])


def thresholds(truth: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The value from which each unit counts as firing: where it agrees best (F1) with its predicate, [units].

    At most half of the rows may fire. Chosen on training rows and used on others.
    """
    rows, units = values.shape
    half = max(1, rows // 2)
    found = np.zeros(units)
    for u in range(units):
        order = np.argsort(-values[:, u])  # rows of a tie are taken together below, so their order is free
        ranked, hits = values[order, u], np.cumsum(truth[order, u])
        f1 = 2 * hits / (np.arange(1, rows + 1) + max(1, int(hits[-1])))
        last = np.append(ranked[1:] != ranked[:-1], True)  # a threshold takes all rows of a tie
        last[half:] = False
        best = int(np.where(last, f1, -1.0).argmax())
        # Halfway to the next value, so that rounding of the values does not move rows across.
        found[u] = (float(ranked[best]) + float(ranked[best + 1])) / 2 if last.any() and best + 1 < rows else float(ranked[0])
    return found


def agreement(truth: np.ndarray, values: np.ndarray, threshold: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of predicates for firing, AUROC of the values for the predicate, and both rates: [units]."""
    fires = values > threshold
    both = (truth & fires).sum(axis=0)
    said, active = truth.sum(axis=0), fires.sum(axis=0)
    ranks = np.array([_ranks(values[:, u], truth[:, u]).sum() for u in range(values.shape[1])])
    others = len(truth) - said
    area = np.divide(ranks - said * (said + 1) / 2, said * others, out=np.full(len(said), 0.5), where=said * others > 0)
    return {
        "precision": both / np.maximum(1, said), "recall": both / np.maximum(1, active),
        "f1": 2 * both / np.maximum(1, said + active), "auroc": area,
        "rate": active / len(truth), "coverage": said / len(truth),
    }  # fmt: skip


def _ranks(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Ranks among all values, from 1, of the chosen ones; ties share their mean rank."""
    ranked = np.sort(values)
    return (np.searchsorted(ranked, values[chosen]) + np.searchsorted(ranked, values[chosen], "right") + 1) / 2


def _sums(values: np.ndarray, number: np.ndarray, count: int) -> np.ndarray:
    order = np.argsort(number, kind="stable")
    starts = np.searchsorted(number[order], np.arange(count))
    return np.add.reduceat(values[order], starts, axis=0)


def _arrangement(groups: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Row numbers: documents in random order, each shifted in a circle by itself."""
    order = np.argsort(groups, kind="stable")
    documents = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    shifted = [np.roll(document, int(generator.integers(len(document)))) for document in documents]
    return np.concatenate([shifted[i] for i in generator.permutation(len(shifted))])

"""Predicates judged on documents that the search did not see: score, interval, precision and recall."""

import numpy as np

from microtome.describe.search import standardised
from microtome.rng import rng

#: Draws of the bootstrap over documents.
BOOTSTRAP = 400


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


def thresholds(truth: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The value above which each unit counts as firing: where firing correlates most with its predicate, [units].

    Chosen on training rows and used on others. Correlation (phi) favours neither rare nor frequent firing.
    """
    rows, units = values.shape
    if rows < 2:
        return values.max(axis=0, initial=0.0).astype(np.float64)
    size = np.arange(1, rows, dtype=np.float64)
    spread = np.sqrt(size * (rows - size))
    found = np.zeros(units)
    for u in range(units):
        order = np.argsort(-values[:, u])  # rows of a tie are taken together below, so their order is free
        ranked, hits = values[order, u].astype(np.float64), np.cumsum(truth[order, u])
        phi = (hits[:-1] - size * hits[-1] / rows) / spread
        phi[ranked[1:] == ranked[:-1]] = -np.inf
        best = int(phi.argmax())
        # Halfway to the next value, so that rounding of the values does not move rows across.
        found[u] = (ranked[best] + ranked[best + 1]) / 2
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

"""How well scores order labels: AUROC, average precision, best F1, rank correlation; for all units at once."""

from itertools import pairwise
from typing import Any

import numpy as np

from microtome.errors import Degenerate, ShapeError
from microtome.evidence._arrays import as_array, binary, chunks, finite


def auroc(scores: Any, labels: Any) -> np.ndarray:
    """Area under the ROC curve: the chance that a positive row scores above a negative one; ties count half.

    AUROC = (sum of ranks of the positives - P (P + 1) / 2) / (P N), with average ranks.

    Parameters
    ----------
    scores : array_like [rows] or [rows, units]
        Scores; torch tensors are accepted.
    labels : array_like [rows] or [rows, properties]
        True/False or 1/0, both classes present in each property.

    Returns
    -------
    ndarray
        Shape [] or [units] for labels [rows]; [properties] or [properties, units] for labels [rows, properties].

    Raises
    ------
    Degenerate, NonFinite, ShapeError, UsageError
        When one class is missing, a score is NaN, or shapes disagree.

    Notes
    -----
    Null: 0.5 on average; the best of many units is well above it (`best_of_k`).
    Misleads when positives are rare: a high AUROC can go with a low precision. See `average_precision`.

    Examples
    --------
    >>> float(auroc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]))
    0.75
    """
    from scipy.stats import rankdata

    scores, single = _scores(scores)
    labels = binary(labels, len(scores), "labels")
    one = labels.ndim == 1
    weights = labels.reshape(len(labels), -1).T.astype(np.float64)  # [properties, rows]
    positive = weights.sum(1, keepdims=True)
    parts = [weights @ rankdata(part, axis=1).T for part in _units(scores)]
    area = (np.concatenate(parts, axis=1) - positive * (positive + 1) / 2) / (positive * (len(scores) - positive))
    area = area[:, 0] if single else area
    return area[0] if one else area


def average_precision(scores: Any, labels: Any) -> np.ndarray:
    """Average precision: the mean, over positive rows, of the precision at that row's score.

    AP = sum_k (R_k - R_{k-1}) P_k over the distinct thresholds.

    Parameters
    ----------
    scores : array_like [rows] or [rows, units]
        Scores.
    labels : array_like [rows]
        True/False or 1/0, both classes present.

    Returns
    -------
    ndarray, shape [] or [units]
        In (0, 1].

    Raises
    ------
    Degenerate, NonFinite, ShapeError, UsageError
        When one class is missing, a score is NaN, or shapes disagree.

    Notes
    -----
    Null: about the share of positives.
    Misleads when compared between data with different shares of positives.

    Examples
    --------
    >>> round(float(average_precision([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])), 4)
    0.8333
    """
    scores, single = _scores(scores)
    labels = _column(labels, len(scores))
    parts = []
    for part in _units(scores):
        hits, ends, order = _sweep(part, labels)
        precision = np.take_along_axis(hits, ends, 1) / (ends + 1)
        parts.append((precision * labels[order]).sum(1) / labels.sum())
    return _shape(parts, single)


def best_f1(scores: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """The largest F1 over thresholds, and the threshold that gives it.

    F1(t) = 2 TP / (predicted + positives), predicting rows with score >= t; of equal F1 the highest threshold is taken.

    Parameters
    ----------
    scores : array_like [rows] or [rows, units]
        Scores.
    labels : array_like [rows]
        True/False or 1/0, both classes present.

    Returns
    -------
    f1 : ndarray, shape [] or [units]
        In (0, 1].
    threshold : ndarray, shape [] or [units]
        A score that occurs in the data.

    Raises
    ------
    Degenerate, NonFinite, ShapeError, UsageError
        When one class is missing, a score is NaN, or shapes disagree.

    Notes
    -----
    Null: at least 2 s / (1 + s) for a share s of positives: predicting all rows gives that.
    Misleads when the threshold is chosen and scored on the same rows; choose it on others.

    Examples
    --------
    >>> [round(float(v), 3) for v in best_f1([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])]
    [0.8, 0.35]
    """
    scores, single = _scores(scores)
    labels = _column(labels, len(scores))
    values, thresholds = [], []
    for part in _units(scores):
        hits, ends, order = _sweep(part, labels)
        f1 = 2 * np.take_along_axis(hits, ends, 1) / (ends + 1 + labels.sum())
        best = f1.argmax(1)[:, None]
        values.append(np.take_along_axis(f1, best, 1)[:, 0])
        thresholds.append(np.take_along_axis(part, np.take_along_axis(order, best, 1), 1)[:, 0])
    return _shape(values, single), _shape(thresholds, single)


def spearman(scores: Any, target: Any) -> np.ndarray:
    """Rank correlation of each unit with a target.

    The Pearson correlation of average ranks.

    Parameters
    ----------
    scores : array_like [rows] or [rows, units]
        Scores, rows >= 3.
    target : array_like [rows]
        The quantity to follow.

    Returns
    -------
    ndarray, shape [] or [units]
        In [-1, 1].

    Raises
    ------
    Degenerate, NonFinite, ShapeError, UsageError
        When a unit or the target is constant, a value is NaN, or shapes disagree.

    Notes
    -----
    Null: 0 with standard deviation 1 / sqrt(rows - 1) for independent rows.
    Misleads when rows are ordered in time: see `circular_shift_test`.

    Examples
    --------
    >>> round(float(spearman([1.0, 2.0, 3.0], [10.0, 20.0, 15.0])), 3)
    0.5
    """
    from microtome.evidence.correlation import _standard

    array, single = _scores(scores)
    x, y = _standard(array, target, "spearman")
    values = y @ x
    return values[0] if single else values


def _sweep(part: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For scores [units, rows]: positives among the first k+1 rows in falling order, the last row of each tie, the order."""
    order = np.argsort(-part, axis=1, kind="stable")
    ranked = np.take_along_axis(part, order, 1)
    hits = np.cumsum(labels[order], axis=1)
    rows = part.shape[1]
    last = np.ones(part.shape, dtype=bool)
    last[:, :-1] = ranked[:, 1:] != ranked[:, :-1]
    ends = np.where(last, np.arange(rows), rows)
    return hits, np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1], order


def _scores(scores: Any) -> tuple[np.ndarray, bool]:
    array = as_array(scores, "scores")
    if array.ndim not in (1, 2):
        raise ShapeError(f"scores must have shape [rows] or [rows, units], got {list(array.shape)}.")
    if array.size == 0:
        raise Degenerate(f"scores are empty: shape {list(array.shape)}.")
    array = array if array.dtype.kind == "f" else array.astype(np.float64)
    return finite(array.reshape(len(array), -1), "scores"), array.ndim == 1


def _column(labels: Any, rows: int) -> np.ndarray:
    labels = binary(labels, rows, "labels")
    if labels.ndim != 1:
        raise ShapeError(f"labels must have shape [{rows}], got {list(labels.shape)}.")
    return labels


def _units(scores: np.ndarray) -> list[np.ndarray]:
    """The units as rows, in chunks that keep temporary arrays small."""
    edges = np.cumsum([0, *chunks(scores.shape[1], scores.shape[0])])
    return [np.ascontiguousarray(scores[:, a:b].T) for a, b in pairwise(edges)]


def _shape(parts: list[np.ndarray], single: bool) -> np.ndarray:
    values = np.concatenate(parts)
    return values[0] if single else values

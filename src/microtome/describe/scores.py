"""Scores of a description as a judge of activity: detection, fuzzing, simulation; precision at the true firing rate."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from microtome.describe.heldout import correlation
from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.rng import rng


@dataclass(frozen=True)
class Detection:
    """How well yes-or-no predictions tell active from inactive.

    Attributes
    ----------
    tpr, tnr : float
        Share of active cases called active, and of inactive ones called inactive.
    rate : float
        Share of active cases for which precision and F1 are stated.
    n : int
        Cases judged.
    """

    tpr: float
    tnr: float
    rate: float
    n: int

    @property
    def balanced_accuracy(self) -> float:
        """(tpr + tnr) / 2; 0.5 by chance whatever the rate."""
        return (self.tpr + self.tnr) / 2

    @property
    def precision(self) -> float:
        """rate tpr / (rate tpr + (1 - rate)(1 - tnr)); 0 where nothing is called active."""
        right, wrong = self.rate * self.tpr, (1 - self.rate) * (1 - self.tnr)
        return right / (right + wrong) if right + wrong else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and tpr at `rate`."""
        total = self.precision + self.tpr
        return 2 * self.precision * self.tpr / total if total else 0.0


def detection(predicted: Any, active: Any, rate: float | None = None) -> Detection:
    """Score predictions of which cases (rows, or windows: see `per_window`) are active.

    Balanced accuracy is (TPR + TNR) / 2. F1 is stated at the true `rate`: among equally many active and inactive cases a
    description with 1% false alarms looks perfect, while most of its alarms on real text are false.

    Parameters
    ----------
    predicted, active : array_like of bool [cases]
        What the description says, and what the unit does.
    rate : float, optional
        True share of active cases, when `active` was balanced by sampling. Default: the share in `active`.

    Returns
    -------
    Detection

    Raises
    ------
    ShapeError, Degenerate, UsageError
        Lengths differ; cases of one class only; a rate outside (0, 1).

    Notes
    -----
    Null: balanced accuracy 0.5; F1 at most 2 rate / (1 + rate), reached by calling everything active.
    Misleads when cases are read as independent although they come from few documents.

    Examples
    --------
    >>> d = detection([1, 1, 0, 0], [1, 0, 0, 0], rate=0.01)
    >>> round(d.balanced_accuracy, 3), round(d.precision, 3)
    (0.833, 0.029)
    """
    said, fires = np.asarray(predicted, dtype=bool), np.asarray(active, dtype=bool)
    if said.shape != fires.shape or said.ndim != 1:
        raise ShapeError(f"predicted and active must be two lists of one length, got {said.shape} and {fires.shape}.")
    if not fires.any() or fires.all():
        raise Degenerate(f"{int(fires.sum())} of {len(fires)} cases are active; detection needs active and inactive ones.")
    share = float(fires.mean()) if rate is None else float(rate)
    if not 0 < share < 1:
        raise UsageError(f"rate must be between 0 and 1, got {rate}.")
    return Detection(float(said[fires].mean()), float((~said[~fires]).mean()), share, len(fires))


def per_window(rows: Any, window: Any) -> np.ndarray:
    """Whether any row of each window is true: bool[windows], windows in order of their number (as detection asks it)."""
    number = np.unique(np.asarray(window), return_inverse=True)[1]
    found = np.zeros(int(number.max(initial=-1)) + 1, dtype=bool)
    np.logical_or.at(found, number, np.asarray(rows, dtype=bool))
    return found


def fuzzing(predicted: Any, active: Any, window: Any, *, seed: int = 0) -> Detection:
    """Score a description by whether it tells correctly marked windows from wrongly marked ones.

    Each window with activity is shown twice: its active rows marked, and as many of its inactive rows. A marking is accepted
    when the description holds on more than half of the marks. (Marking the mean number of rows in all wrong windows, as is
    also done, lets the number of marks give the answer away.)

    Parameters
    ----------
    predicted, active : array_like of bool [rows]
        What the description says, and what the unit does.
    window : array_like [rows]
        Window of each row.
    seed : int, default 0
        Draws the wrong marks.

    Returns
    -------
    Detection
        At rate 0.5: half of the markings are right.

    Raises
    ------
    ShapeError, Degenerate
        Lengths differ; no window has both active and inactive rows.

    Notes
    -----
    Null: balanced accuracy 0.5.
    Misleads when wrong marks are easy: inactive tokens are mostly unlike active ones, so 0.9 is not yet a good description.

    Examples
    --------
    >>> fuzzing([1, 0, 0, 1], [1, 0, 0, 1], [0, 0, 1, 1]).balanced_accuracy
    1.0
    """
    said, fires, number = np.asarray(predicted, dtype=bool), np.asarray(active, dtype=bool), np.asarray(window)
    if not said.shape == fires.shape == number.shape or said.ndim != 1:
        raise ShapeError(f"three lists of one length are needed, got {said.shape}, {fires.shape} and {number.shape}.")
    shown = [rows for w in np.unique(number[fires]) if not fires[rows := np.flatnonzero(number == w)].all()]
    if not shown:
        raise Degenerate("no window has both active and inactive rows, so nothing can be marked wrongly.")
    draw = rng(seed, "describe.fuzzing")
    pairs = [(rows[fires[rows]], rows[~fires[rows]]) for rows in shown]
    right = [said[on].mean() > 0.5 for on, _ in pairs]
    wrong = [said[draw.choice(off, min(len(on), len(off)), replace=False)].mean() > 0.5 for on, off in pairs]
    return detection([*right, *wrong], [True] * len(right) + [False] * len(wrong))


def simulation(actual: Any, predicted: Any) -> np.ndarray:
    """Correlation of simulated with real values, over all rows of all windows together.

    ``r = corr(concat a, concat E[a])``, for all units at once.

    Parameters
    ----------
    actual, predicted : array_like [rows] or [rows, units]
        Values and their simulation; a predicate simulates by where it holds.

    Returns
    -------
    ndarray, shape [] or [units]
        0 where either is constant: nothing was predicted.

    Raises
    ------
    ShapeError
        When the shapes differ.

    Notes
    -----
    Null: 0, with standard deviation about 1 / sqrt(independent rows).
    Misleads when averaged over windows instead: a window without activity then counts as much as one with.

    Examples
    --------
    >>> float(simulation([0.0, 0.0, 2.0], [0, 0, 1]).round(6))
    1.0
    """
    x, y = np.asarray(actual, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if x.shape != y.shape or x.ndim not in (1, 2) or not len(x):
        raise ShapeError(f"actual and predicted need one shape [rows] or [rows, units], got {x.shape} and {y.shape}.")
    found = correlation(y.reshape(len(y), -1), x.reshape(len(x), -1))
    return found[0] if x.ndim == 1 else found

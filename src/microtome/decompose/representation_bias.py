"""Which properties hold the variance of a representation: simple and early ones, at equal use (Lampinen et al. 2024)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.decompose.given import require_draws
from microtome.decompose.representation import variance_explained
from microtome.errors import Degenerate, UsageError, nearest
from microtome.evidence import Estimate, Finding, Null, Provenance, auroc, p_values
from microtome.method import Paper, method
from microtome.rng import rng
from microtome.subject.recording.halves import documents, halves

#: Resamples of the interval.
RESAMPLES = 200


@method(
    question="decompose",
    paper=Paper("Lampinen, Chan, Hermann", 2024,
                "Learned feature representations are biased by complexity, learning order, position, and more",
                "https://arxiv.org/abs/2405.05847"),
    needs=("recording", "labels"),
    gives="Finding",
    stochastic=True,
    cost="O((draws + 200) * rows * units * properties)",
    claim="Of two features that are computed equally well, the simpler or earlier one holds several times the variance.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That a property with much variance matters more: variance is not use.",
    tiny={"draws": 19},
)  # fmt: skip
def representation_bias(recording: Any, *, properties: Sequence[str] | None = None, draws: int = 99, seed: int = 0) -> Finding:
    """Compare how much of the variance of a site each of several properties holds, beside how well each can be read.

    ``VE_k = ||y_k y_k^T H / n||^2 / ||H||^2`` for a property y_k of -1 and 1 and centred activations H. What PCA, similarity
    matrices and dictionaries show is weighted by it.

    Parameters
    ----------
    recording : Recording
        One site, with at least two properties on its rows.
    properties : sequence of str, optional
        Which. Default: all of the recording.
    draws : int
        Permutations of the labels. Default 99.
    seed : int
        Of the permutations, the halves and the interval. Default 0.

    Returns
    -------
    Finding
        The estimate is the largest share of variance divided by the smallest, with an interval over documents. Table, largest
        first: property, variance, chance (mean under permuted labels), p, auroc (of the difference of class means, fitted on
        half of the documents, on the other half), correlation (largest with another property).

    Raises
    ------
    UsageError
        With fewer than two properties, one that is not there, or draws < 1.
    NonFinite
        When the recording holds NaN or infinity.
    Degenerate
        When rows do not vary, or a property is on all rows or none.

    Notes
    -----
    Null: labels permuted over rows; the largest variance of any property. An untrained network holds linear features of its
    input too: make the same table for it.
    Misleads when properties are correlated: each is credited with what they share.

    Examples
    --------
    >>> from microtome.subject.recording import Recording
    >>> g = np.random.default_rng(0)
    >>> easy, hard = g.random((2, 200)) < 0.5
    >>> x = g.normal(size=(200, 6)); x[:, 0] += 4 * easy; x[:, 1] += 2 * hard
    >>> found = representation_bias(Recording.of(torch.tensor(x), site="h", labels={"easy": easy, "hard": hard}), draws=39)
    >>> found.table["property"].tolist(), found.verdict, bool(found.table["auroc"].min() > 0.8)
    (['easy', 'hard'], 'supported', True)

    References
    ----------
    Lampinen, Chan, Hermann (2024). Learned feature representations are biased by complexity, learning order, position, and
    more. https://arxiv.org/abs/2405.05847
    """
    import pandas as pd

    require_draws(draws)
    names = _names(recording, properties)
    x = recording.matrix().double().cpu()
    y = np.stack([np.asarray(recording.labels(name), dtype=bool) for name in names], 1)
    if not len(y):
        raise Degenerate("the recording has no rows.")
    constant = [n for n, rate in zip(names, y.mean(0), strict=True) if rate in (0.0, 1.0)]
    if constant:
        raise Degenerate(f"'{constant[0]}' is on all {len(y)} rows or on none.")
    stream = rng(seed, "decompose", "representation_bias")
    shares = _shares(x, y)
    chance = np.stack([_shares(x, y[stream.permutation(len(y))]) for _ in range(draws)])
    ratio = shares.max() / max(shares.min(), np.finfo(float).tiny)
    document = documents(recording)
    rows = [np.flatnonzero(document == d) for d in np.unique(document)]
    again = [np.concatenate([rows[i] for i in stream.integers(0, len(rows), len(rows))]) for _ in range(RESAMPLES)]
    drawn = [_ratio(x, y, chosen) for chosen in again]
    low, high = np.quantile([r for r in drawn if r is not None] or [ratio], [0.025, 0.975])
    related = np.abs(np.corrcoef(y.T)) - np.eye(len(names))
    table = pd.DataFrame({
        "property": names, "variance": shares, "chance": chance.mean(0), "p": p_values(shares, chance),
        "auroc": _readable(recording, x, y, seed), "correlation": related.max(0),
    })  # fmt: skip
    table = table.sort_values("variance", ascending=False, kind="stable").reset_index(drop=True)
    first, last = table["property"].iloc[0], table["property"].iloc[-1]
    return Finding(
        f"'{first}' holds {shares.max():.1%} of the variance, {ratio:.1f} times as much as '{last}'.",
        estimate=Estimate(float(ratio), min(float(low), float(ratio)), max(float(high), float(ratio)), n=len(rows),
                          unit="times", method=f"percentile bootstrap over documents, {RESAMPLES} draws"),
        nulls=(Null("labels permuted over rows", chance.max(1), float(shares.max())),), table=table,
        provenance=Provenance(subject=str(recording.provenance.get("subject", "") or ""), data=str(recording.site), seed=seed),
        notes=("Properties are correlated: each is credited with what they share.",) if related.max() > 0.2 else (),
    )  # fmt: skip


def _names(recording: Any, properties: Sequence[str] | None) -> list[str]:
    known = list(recording.properties)
    names = known if properties is None else [str(p) for p in properties]
    missing = [n for n in names if n not in known]
    if missing:
        raise UsageError(f"the recording has no property {missing[0]!r}.{nearest(missing[0], known)} It has {known}.")
    if len(set(names)) < 2:
        raise UsageError(f"at least two properties are compared, got {names}; add them with recording.add_labels(...).")
    return names


def _shares(x: Tensor, y: np.ndarray) -> np.ndarray:
    """Share of the variance that each property holds by itself."""
    return np.array([variance_explained(x, torch.from_numpy(column.copy())) for column in y.T])


def _ratio(x: Tensor, y: np.ndarray, rows: np.ndarray) -> float | None:
    """Largest share over the smallest on some rows; None where a property is constant there."""
    if bool((y[rows].all(0) | ~y[rows].any(0)).any()):
        return None
    found = _shares(x[torch.from_numpy(rows)], y[rows])
    return float(found.max() / max(found.min(), np.finfo(float).tiny))


def _readable(recording: Any, x: Tensor, y: np.ndarray, seed: int) -> np.ndarray:
    """AUROC of the difference of class means from one half of the documents on the other; 0.5 where a half has one class."""
    first = halves(recording, 0.5, seed)[0]
    out = np.full(y.shape[1], 0.5)
    for k, column in enumerate(y.T):
        if all(len(np.unique(column[half])) == 2 for half in (first, ~first)):
            with_it, without = (x[torch.from_numpy(first & side)].mean(0) for side in (column, ~column))
            out[k] = auroc((x[torch.from_numpy(~first)] @ (with_it - without)).numpy()[:, None], column[~first])[0]
    return out

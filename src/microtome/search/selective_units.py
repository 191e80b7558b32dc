"""Find the units of named properties: choose by AUROC, judge on other documents, compare with shifted labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from microtome.errors import Degenerate
from microtome.evidence import Estimate, Finding, Null, Provenance, benjamini_hochberg
from microtome.method import Paper, method
from microtome.rng import rng
from microtome.search.marked import FEWEST, document_weights, frequent, properties_of
from microtome.search.scores import columns, signed_auroc, unit_names, weighted_auroc
from microtome.subject.recording.halves import halves


@method(
    question="search",
    paper=Paper("Radford, Jozefowicz, Sutskever", 2017, "Learning to Generate Reviews and Discovering Sentiment",
                "https://arxiv.org/abs/1704.01444"),
    needs=("recording", "labels"),
    gives="Finding",
    stochastic=True,
    cost="O(rows * units * (log rows + properties)), no forward passes",
    claim="Single units of trained networks separate named properties far above units of a random network.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That the network uses the unit for the property: selectivity is correlation. Ablate the unit to see.",
    tiny={"draws": 39},
)  # fmt: skip
def selective_units(
    recording: Any,
    *,
    properties: Sequence[str] | None = None,
    top: int = 1,
    share: float = 0.5,
    draws: int = 199,
    alpha: float = 0.05,
    seed: int = 0,
) -> Finding:
    """Find, for each property, the units that tell it best.

    Score = max(A, 1 - A), A = P(unit on a row with the property > unit on a row without it). Units are chosen on one part
    of the documents and judged on the rest.

    Parameters
    ----------
    recording : Recording
        One or more sites over the same rows, with labels (``recording.properties``).
    properties : sequence of str, optional
        Default: all that occur often enough.
    top : int, default 1
        Units reported per property.
    share : float, default 0.5
        Part of the documents used for choosing.
    draws : int, default 199
        Shifted labels of the null, and resamples of the interval.
    alpha : float, default 0.05
        Level of the finding, after Benjamini-Hochberg over properties.
    seed : int, default 0

    Returns
    -------
    Finding
        Table, one row per property and unit: property, unit, sign, auroc (held out) with low and high over documents, best
        auroc on another property and `specificity` = auroc - that, positives, p, q. Estimate: mean held-out AUROC of the
        first units. Null: the same statistic with the labels shifted along the recording.

    Raises
    ------
    UsageError
        Unknown property, or a recording without labels.
    Degenerate
        No property occurs often enough, or fewer than two documents.
    NonFinite
        When a unit is NaN or infinite.

    Notes
    -----
    Null: shifted labels give about 0.5 + 1 / sqrt(positives). A random network scores above that on properties of the
    current token, because its embeddings tell tokens apart: compare with `subject.twin()`.
    Misleads when two properties occur together (specificity near 0), or when positives come from few documents.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> g = np.random.default_rng(0)
    >>> x = g.normal(size=(400, 6)); label = g.random(400) < 0.3; x[:, 4] += 3 * label
    >>> found = selective_units(Recording.of(torch.tensor(x), site="mlp", labels={"red": label}))
    >>> found.table["unit"].tolist(), found.verdict
    (['mlp[4]'], 'supported')

    References
    ----------
    Radford, Jozefowicz, Sutskever (2017). Learning to Generate Reviews and Discovering Sentiment.
    https://arxiv.org/abs/1704.01444
    """
    names = properties_of(recording, properties)
    chosen, groups = halves(recording, share, seed)
    judged = ~chosen
    labels = np.stack([recording.labels(name) for name in names], axis=1)
    enough = frequent(labels[chosen]) & frequent(labels[judged])
    if not enough.any():
        raise Degenerate(f"none of {len(names)} properties has {FEWEST} rows with and without it in both halves.")
    names, labels = [n for n, e in zip(names, enough) if e], labels[:, enough]
    units = unit_names(recording)
    area = signed_auroc(columns(recording, np.flatnonzero(chosen)), labels[chosen])
    first = np.argsort(-np.maximum(area, 1 - area), axis=1, kind="stable")[:, : min(top, len(units))]
    needed = np.unique(first)
    values = columns(recording, np.flatnonzero(judged))[:, needed]
    rows, truth, held = [], labels[judged], groups[judged]
    shifts = rng(seed, "shift").integers(1, len(truth), size=draws)
    weights = document_weights(held, draws, seed)
    null_best = np.zeros((draws, len(names)))
    others = signed_auroc(values, truth)
    for p, name in enumerate(names):
        for rank, unit in enumerate(first[p]):
            sign = 1.0 if area[p, unit] >= 0.5 else -1.0
            score = sign * values[:, np.searchsorted(needed, unit)]
            held_out = float(signed_auroc(score, truth[:, p]))
            shifted = np.stack([np.roll(truth[:, p], k) for k in shifts], axis=1)
            null = np.asarray(signed_auroc(score, shifted))
            spread = weighted_auroc(score, truth[:, p], weights)
            spread = spread[np.isfinite(spread)]  # a draw without positives says nothing
            low, high = np.percentile(spread, [2.5, 97.5]) if len(spread) else (held_out, held_out)
            if rank == 0:
                null_best[:, p] = null
            column = others[:, np.searchsorted(needed, unit)]
            rival = np.delete(column if sign > 0 else 1 - column, p)
            best = float(rival.max()) if len(rival) else 0.5
            other = names[int(np.delete(np.arange(len(names)), p)[rival.argmax()])] if len(rival) else ""
            rows.append({
                "property": name, "unit": units[unit], "sign": int(sign), "auroc": held_out,
                "low": min(float(low), held_out), "high": max(float(high), held_out), "rival": other, "rival_auroc": best,
                "specificity": held_out - best, "positives": int(truth[:, p].sum()),
                "p": (1 + int((null >= held_out).sum())) / (1 + draws), "rank": rank + 1,
            })  # fmt: skip
    return _finding(recording, rows, null_best, alpha, seed)


def _finding(recording: Any, rows: list[dict], null_best: np.ndarray, alpha: float, seed: int) -> Finding:
    import pandas as pd

    table = pd.DataFrame(rows)
    table["q"] = benjamini_hochberg(table["p"].to_numpy())
    lead = table[table["rank"] == 1]
    mean = float(lead["auroc"].mean())
    certain = int((lead["q"] <= alpha).sum())
    claim = f"single units tell {len(lead)} marked properties on unseen samples ({certain} of them after correction)"
    known = dict(recording.provenance)
    return Finding(
        claim,
        estimate=Estimate(mean, float(min(lead["low"].mean(), mean)), float(max(lead["high"].mean(), mean)), n=len(lead),
                          unit="AUROC", method="mean over properties of document bootstraps"),
        nulls=(Null("labels shifted along the recording", null_best.mean(axis=1), mean, "greater"),),
        table=table,
        provenance=Provenance(subject=str(known.get("subject", "")), data=str(known.get("data", "")), seed=seed),
        alpha=alpha,
    )  # fmt: skip

"""Small decision trees over units: a property that no single unit tells may be told by two together."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from microtome.errors import Degenerate, UsageError
from microtome.evidence import Estimate, Finding, Null, Provenance, benjamini_hochberg, best_f1
from microtome.method import Paper, method
from microtome.rng import derive, rng
from microtome.search.marked import FEWEST, document_weights, frequent, properties_of
from microtome.search.scores import columns, unit_names
from microtome.subject.recording.halves import halves


@method(
    question="search",
    paper=Paper("Spies, Edwards, Ivanitskiy, Skapars, Räuker, Inoue, Russo, Shanahan", 2024,
                "Transformers Use Causal World Models in Maze-Solving Tasks", "https://arxiv.org/abs/2412.11867"),
    needs=("recording", "labels"),
    gives="Finding",
    stochastic=True,
    cost="O(rows * log rows * units * depth) per property, no forward passes",
    claim="A tree over a few latents of a sparse autoencoder tells each connection of a maze.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That the network uses these units for the property: switch them and see.",
    tiny={"draws": 39},
)  # fmt: skip
def unit_trees(
    recording: Any,
    *,
    properties: Sequence[str] | None = None,
    depth: int = 2,
    share: float = 0.5,
    draws: int = 199,
    alpha: float = 0.05,
    seed: int = 0,
) -> Finding:
    """Tell each property by a decision tree of a few units, and say which units and how they stand.

    A tree of at most `depth` questions ``unit > threshold`` is grown on one part of the documents and judged on the rest by
    ``F1 = 2 TP / (said + true)``. The units are those asked on the way to the leaf with the most rows of the property.

    Parameters
    ----------
    recording : Recording
        With labels; codes of a dictionary are ``recording.encode(basis)``.
    properties : sequence of str, optional
        Default: all that occur often enough.
    depth : int, default 2
        Questions on a path; 1 is a single unit. The paper's trees are small.
    share : float, default 0.5
        Part of the documents that trees are grown on.
    draws : int, default 199
        Shifted labels of the null, and resamples of the interval.
    alpha : float, default 0.05
    seed : int, default 0

    Returns
    -------
    Finding
        Estimate: mean held-out F1. Null: the same with the labels shifted along the recording. Table, one row per property
        and unit asked: property, unit, index, above (whether the unit is on), threshold, value = the unit's mean over the
        leaf's rows of the property, f1, f1_single = that of the best single unit, positives, p, q.

    Raises
    ------
    UsageError
        Unknown property, a recording without labels, no question or no draw.
    Degenerate
        No property occurs often enough, or fewer than two documents.

    Notes
    -----
    Null: a tree that says yes at the rate s of the property has F1 = s by chance.
    Misleads when depth is large: a deep tree over many units tells anything on the rows it was grown on, and the units it
    asks differ from draw to draw.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> x = np.random.default_rng(0).random((400, 6)) < 0.5
    >>> both = Recording.of(torch.tensor(x, dtype=torch.float32), site="codes", labels={"both": x[:, 1] & x[:, 4]})
    >>> table = unit_trees(both).table
    >>> sorted(table["index"]), table["f1"].tolist(), bool((table["f1_single"] < 0.9).all())
    ([1, 4], [1.0, 1.0], True)

    References
    ----------
    Spies, Edwards, Ivanitskiy, Skapars, Räuker, Inoue, Russo, Shanahan (2024). Transformers Use Causal World Models in
    Maze-Solving Tasks. https://arxiv.org/abs/2412.11867
    """
    import pandas as pd

    if depth < 1 or draws < 1:
        raise UsageError(f"depth and draws must be at least 1, got depth={depth}, draws={draws}.")
    names = properties_of(recording, properties)
    chosen, groups = halves(recording, share, seed)
    labels = np.stack([recording.labels(name) for name in names], axis=1)
    enough = frequent(labels[chosen]) & frequent(labels[~chosen])
    if not enough.any():
        raise Degenerate(f"none of {len(names)} properties has {FEWEST} rows with and without it in both halves.")
    names, labels = [n for n, e in zip(names, enough) if e], labels[:, enough]
    grown, judged = (columns(recording, np.flatnonzero(part)) for part in (chosen, ~chosen))
    truth, units = labels[~chosen], unit_names(recording)
    weights = document_weights(groups[~chosen], draws, seed)
    shifts = rng(seed, "shift").integers(1, len(truth), size=draws)
    rows, spread, null, scores = [], np.zeros((draws, len(names))), np.zeros((draws, len(names))), np.zeros(len(names))
    for i, name in enumerate(names):
        said, asked = _tree(grown, labels[chosen, i], judged, depth, derive(seed, "tree", name) % 2**31)
        scores[i] = f1(said, truth[:, i])
        spread[:, i] = f1(said, truth[:, i], weights)
        null[:, i] = f1(said, np.stack([np.roll(truth[:, i], k) for k in shifts]))
        single = _single(grown, labels[chosen, i], judged, truth[:, i])
        for index, above, threshold, value in asked:
            rows.append({"property": name, "unit": units[index], "index": index, "above": above, "threshold": threshold,
                         "value": value, "f1": scores[i], "f1_single": single,
                         "positives": int(truth[:, i].sum())})  # fmt: skip
    if not rows:
        raise Degenerate(f"no unit at {', '.join(recording.sites)} varies with a property: there is nothing to ask.")
    p = (1 + (null >= scores).sum(0)) / (1 + draws)
    judgement = pd.DataFrame({"property": names, "p": p, "q": benjamini_hochberg(p)})
    low, high = np.percentile(spread.mean(1), [2.5, 97.5])
    mean, known = float(scores.mean()), dict(recording.provenance)
    return Finding(
        f"trees of a few units tell {len(names)} marked properties on unseen samples",
        estimate=Estimate(mean, min(float(low), mean), max(float(high), mean), n=len(names), unit="F1",
                          method="mean over properties, bootstrap over documents"),
        nulls=(Null("labels shifted along the recording", null.mean(1), mean, "greater"),),
        table=pd.DataFrame(rows).merge(judgement, on="property"), alpha=alpha,
        provenance=Provenance(subject=str(known.get("subject", "")), data=str(known.get("data", "")), seed=seed),
    )  # fmt: skip


def f1(said: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """F1 of yes/no answers [rows] for labels [..., rows], or under row weights [draws, rows]; 0 where nothing is there."""
    w = 1.0 if weights is None else weights
    both, either = ((said & truth) * w).sum(-1), (said * w + truth * w).sum(-1)
    return np.divide(2 * both, either, out=np.zeros_like(either, dtype=float), where=either > 0)


def _tree(x: np.ndarray, label: np.ndarray, new: np.ndarray, depth: int, seed: int) -> tuple[np.ndarray, list[tuple]]:
    """What the tree says of new rows, and (unit, above, threshold, mean) of each unit on the way to its main leaf."""
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_depth=depth, random_state=seed).fit(x, label)
    inner, ends = tree.tree_, tree.apply(x)
    leaf = int(np.bincount(ends[label]).argmax())
    mine, asked = label & (ends == leaf), {}
    way = tree.decision_path(x[mine][:1]).indices
    for node, after in pairwise(way):
        unit, bar = int(inner.feature[node]), float(inner.threshold[node])
        asked[unit] = (unit, bool(after == inner.children_right[node]), bar, float(x[mine, unit].mean()))
    return tree.predict(new).astype(bool), list(asked.values())


def _single(x: np.ndarray, label: np.ndarray, new: np.ndarray, truth: np.ndarray) -> float:
    """Held-out F1 of the best unit and threshold, chosen on x."""
    scores, bars = best_f1(x, label)
    best = int(scores.argmax())
    return float(f1(new[:, best] >= bars[best], truth))

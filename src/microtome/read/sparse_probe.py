"""A probe on k units: how few units tell a property?"""

from typing import Any, Literal

import numpy as np

from microtome.errors import UsageError
from microtome.method import Paper, method
from microtome.read.directions import direction_basis
from microtome.read.labelled import labelled
from microtome.read.logistic_probe import fit_logistic
from microtome.subject.basis import Linear


@method(
    question="read",
    paper=Paper("Gurnee et al.", 2023, "Finding Neurons in a Haystack: Case Studies with Sparse Probing",
                "https://arxiv.org/abs/2305.01610"),
    needs=("recording", "labels"),
    gives="Basis",
    stochastic=True,
    cost="O(rows * d), and for 'adaptive' one logistic fit per halving of the units",
    claim="Some properties are told by one unit, others by a few together, others by no small number.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That the network uses these units, or that they tell nothing else. Ablate them; see `selective_units`.",
    tiny={"k": 8},
)  # fmt: skip
def sparse_probe(
    recording: Any,
    label: str,
    *,
    k: int = 1,
    selector: Literal["mean_difference", "adaptive"] = "mean_difference",
    penalty: float = 1.0,
    share: float = 0.5,
    seed: int = 0,
) -> Linear:
    """Choose k units and fit a logistic probe on them alone.

    ``min_w sum log(1 + exp(-y (w.s + b))) + penalty/2 |w|^2`` with ``|w|_0 <= k``, s = standardised x. Units and weights come
    from the fitting documents, and so does the threshold, which is the one with the best F1.

    Parameters
    ----------
    recording : Recording
        One site, with labels.
    label : str
        The property.
    k : int, default 1
        Units. The paper tries 1, 2, 4, ..., 256.
    selector : {"mean_difference", "adaptive"}
        "mean_difference" (the default) takes the largest ``|mean(s | y=1) - mean(s | y=0)|``, each unit by itself.
        "adaptive" fits all units and drops the half with the smallest ``|w|`` until k are left, so that units count by
        what they add to others.
    penalty : float, default 1.0
        L2 strength, on standardised units.
    share : float, default 0.5
        Part of the documents used for choosing and fitting; the rest judges.
    seed : int, default 0
        Of the split.

    Returns
    -------
    Linear
        One coordinate, non-zero on the chosen units, 0 at the threshold; ``.metrics`` holds held-out f1, precision,
        recall, auroc and accuracies.

    Raises
    ------
    UsageError, Degenerate, NonFinite
        No such property, selector or k; one class missing in a half; a value that is not a number.

    Notes
    -----
    Null: shuffled labels give the F1 of the best constant answer, ``2 b / (1 + b)`` at base rate b.
    Misleads when units stand in for each other (mean_difference then spends k on copies), and when k=1 fails for want of
    rows rather than of a unit: compare with k = d.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> g = np.random.default_rng(0); y = g.random(300) < 0.2
    >>> x = g.normal(size=(300, 5)); x[:, 2] += 5 * y
    >>> probe = sparse_probe(Recording.of(torch.tensor(x), site="mlp", labels={"red": y}), "red")
    >>> probe.directions[0].nonzero().flatten().tolist(), probe.metrics["f1"] > 0.9
    ([2], True)

    References
    ----------
    Gurnee et al. (2023). Finding Neurons in a Haystack: Case Studies with Sparse Probing. https://arxiv.org/abs/2305.01610
    """
    if selector not in SELECTORS:
        raise UsageError(f"selector must be one of {sorted(SELECTORS)}, got {selector!r}.")
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise UsageError(f"k must be an int >= 1, got {k!r}.")
    data = labelled(recording, label, share=share, seed=seed)
    x, y = data.x[data.fit], data.y[data.fit]
    spread = x.std(axis=0)
    s = (x - x.mean(axis=0)) / np.where(spread > 1e-12, spread, 1.0)
    chosen = SELECTORS[selector](s, y, min(k, s.shape[1]), penalty)
    weights = np.zeros(x.shape[1])
    weights[chosen], _ = fit_logistic(x[:, chosen], y, penalty)
    cut = best_threshold(x @ weights, y)
    offset = cut / max(float(weights @ weights), 1e-12) * weights
    return direction_basis(data, weights, offset, name="sparse_probe", label=label)


def by_mean_difference(s: np.ndarray, y: np.ndarray, k: int, penalty: float) -> np.ndarray:
    """The k units whose class means are furthest apart."""
    return np.argsort(-np.abs(s[y].mean(axis=0) - s[~y].mean(axis=0)), kind="stable")[:k]


def by_adaptive_thresholds(s: np.ndarray, y: np.ndarray, k: int, penalty: float) -> np.ndarray:
    """The k units that are left when the smaller half of the weights is dropped, and the rest refitted, again and again."""
    kept = np.arange(s.shape[1])
    while len(kept) > k:
        weights, _ = fit_logistic(s[:, kept], y, penalty)
        kept = np.sort(kept[np.argsort(-np.abs(weights), kind="stable")[: max(k, len(kept) // 2)]])
    return kept


SELECTORS = {"mean_difference": by_mean_difference, "adaptive": by_adaptive_thresholds}


def best_threshold(scores: np.ndarray, labels: np.ndarray) -> float:
    """The threshold with the best F1 (``score > threshold``), midway between neighbouring scores."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    hits = np.cumsum(labels[order])
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + hits[-1])
    ends = np.append(ranked[1:] < ranked[:-1], True)
    last = int(np.where(ends, f1, -1.0).argmax())
    below = ranked[last + 1] if last + 1 < len(ranked) else ranked[last] - 1.0
    return float((ranked[last] + below) / 2)

"""Overlap of two circuits as a curve over their size, against random sets."""

from collections.abc import Sequence

import numpy as np

from microtome.errors import SubjectMismatch, UsageError
from microtome.evidence import Finding, Null, Provenance, benjamini_hochberg
from microtome.method import Paper, method
from microtome.rng import rng
from microtome.trace.drawn import estimated, resampled_means
from microtome.trace.effects import Effects


@method(
    question="trace",
    paper=Paper("Merullo, Eickhoff, Pavlick", 2024, "Circuit Component Reuse Across Tasks in Transformer Language Models",
                "https://arxiv.org/abs/2310.08744"),
    needs=("values",),
    gives="Finding",
    stochastic=True,
    cost="O(draws * nodes log nodes), no forward passes",
    claim="Circuits of two tasks that share a mechanism consist of largely the same heads.",
    notion="post-hoc",
    serves="transferability",
    cannot_claim="That a shared node does the same in both tasks: patch it from one task into the other, or transplant it.",
    tiny={"draws": 99},
)  # fmt: skip
def circuit_overlap(
    first: Effects,
    second: Effects,
    *,
    sizes: Sequence[int] = (),
    draws: int = 999,
    alpha: float = 0.05,
    seed: int = 0,
) -> Finding:
    """Compare the k most important nodes of two tasks, for a range of k.

    ``overlap(k) = |top_k(first) & top_k(second)| / k``, by absolute effect; chance gives k / nodes. The statistic is the mean
    of ``overlap(k) - k / nodes`` over the sizes: no single threshold decides.

    Parameters
    ----------
    first, second : Effects
        Effects of the same nodes of one subject on two tasks.
    sizes : sequence of int, optional
        Sizes k; if none are given, 1 to half of the nodes. Paper: about 2% of the heads per receiver.
    draws : int, default 999
        Arrangements of the null, and resamples of the interval.
    alpha : float, default 0.05
    seed : int, default 0

    Returns
    -------
    Finding
        Estimate: the mean excess over the sizes, with its interval over prompt groups (drawn anew in each task). Null: scores
        of the second task dealt to random nodes. Table, one row per size: overlap with low and high, effect = excess,
        expected, p (hypergeometric), q, and the shared nodes.

    Raises
    ------
    UsageError
        When the nodes differ, or a size is outside 1..nodes.
    SubjectMismatch
        When the effects belong to two subjects.

    Notes
    -----
    Null: unrelated circuits share k of nodes / k by chance, and p is uniform.
    Misleads when a few nodes matter for everything (the first MLP): compare with a third, unrelated task.

    Examples
    --------
    >>> import microtome as mt
    >>> subject = mt.load("organism:compiled-ioi")
    >>> effects = [mt.trace.path_patching(subject, subject.organism.examples(24, s)) for s in (0, 1)]
    >>> circuit_overlap(*effects, sizes=[3]).table["shared"].tolist()
    ['a1.h0, a1.h2, a2.h1']

    References
    ----------
    Merullo, Eickhoff, Pavlick (2024). Circuit Component Reuse Across Tasks in Transformer Language Models.
    https://arxiv.org/abs/2310.08744
    """
    import pandas as pd
    from scipy.stats import hypergeom

    order = _same_nodes(first, second)
    count = len(first.nodes)
    ks = np.asarray(list(sizes) or range(1, max(2, count // 2 + 1)), dtype=int)
    if ks.min() < 1 or ks.max() > count:
        raise UsageError(f"sizes must be between 1 and {count}, the number of nodes, got {ks.tolist()}.")
    if draws < 1:
        raise UsageError(f"draws must be at least 1, got {draws}.")
    change = [first.change, second.change[order]]
    ranks = [_ranks(c.mean(1)[None]) for c in change]
    overlap = _overlap(*ranks, ks)[0]
    spread = _overlap(*(_ranks(resampled_means(c, e.groups, draws, seed, "overlap", str(i)))
                        for i, (c, e) in enumerate(zip(change, (first, second)))), ks)  # fmt: skip
    chance = ks / count
    shuffled = rng(seed, "overlap", "null").permuted(np.repeat(ranks[1], draws, axis=0), axis=1)
    null = (_overlap(np.repeat(ranks[0], draws, axis=0), shuffled, ks) - chance).mean(1)
    excess = float((overlap - chance).mean())
    shared = (overlap * ks).round().astype(int)
    p = np.clip(hypergeom.sf(shared - 1, count, ks, ks), 0, 1)
    low, high = np.percentile(spread, [2.5, 97.5], axis=0)
    table = pd.DataFrame({
        "size": ks, "overlap": overlap, "low": np.minimum(low, overlap), "high": np.maximum(high, overlap),
        "expected": chance, "effect": overlap - chance, "p": p, "q": benjamini_hochberg(p),
        "shared": [_shared(first, ranks, k) for k in ks],
    })  # fmt: skip
    n = min(len(set(np.asarray(e.groups).tolist())) for e in (first, second))
    return Finding(
        f"the circuits of '{first.task}' and '{second.task}' share more nodes than random sets of their size",
        estimate=estimated(excess, (spread - chance).mean(1), n, "share of the nodes", "bootstrap over prompt groups"),
        nulls=(Null("effects of the second task dealt to random nodes", null, excess, "greater"),),
        controls={"largest overlap above chance": float((overlap - chance).max()),
                  "rank correlation of the effects": _correlation(ranks)},
        table=table, alpha=alpha,
        provenance=Provenance(subject=first.subject, data=first.data + second.data, seed=seed,
                              forwards=first.forwards + second.forwards),
    )  # fmt: skip


def _same_nodes(first: Effects, second: Effects) -> list[int]:
    """Where each node of the first stands in the second."""
    if first.subject != second.subject:
        raise SubjectMismatch("the effects belong to two subjects; nodes of one are not nodes of the other.")
    place = {n: i for i, n in enumerate(second.nodes)}
    missing = [str(n) for n in first.nodes if n not in place]
    if missing or len(place) != len(first.nodes):
        raise UsageError(f"the effects must be of the same nodes; {missing[:3] or 'others'} are in one of them only.")
    return [place[n] for n in first.nodes]


def _ranks(means: np.ndarray) -> np.ndarray:
    """Rank [rows, nodes] of the absolute means: 0 is the largest."""
    return np.argsort(np.argsort(-np.abs(means), axis=1, kind="stable"), axis=1)


def _overlap(a: np.ndarray, b: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Share [rows, sizes] of nodes whose rank is below k in both."""
    worst = np.sort(np.maximum(a, b), axis=1)
    return np.stack([(worst < k).sum(1) / k for k in sizes], axis=1)


def _shared(first: Effects, ranks: list[np.ndarray], size: int) -> str:
    both = (ranks[0][0] < size) & (ranks[1][0] < size)
    return ", ".join(str(n) for n in sorted(n for n, yes in zip(first.nodes, both) if yes)) or "none"


def _correlation(ranks: list[np.ndarray]) -> float:
    a, b = (r[0] - r[0].mean() for r in ranks)
    return float((a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-12))

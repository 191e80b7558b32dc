"""Attention transplant: give heads the attention pattern of another run, and see whether the behaviour comes back."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from microtome.errors import Degenerate, UsageError
from microtome.evidence import Finding, Null, Provenance, benjamini_hochberg, matched_random, sign_flip_family
from microtome.method import Paper, method
from microtome.subject.edit import Edit, freeze
from microtome.trace.drawn import as_accuracy, estimated, resampled_means
from microtome.trace.effects import _group_means
from microtome.trace.listing import as_nodes, nodes
from microtome.trace.measured import bound_pairs, measured
from microtome.trace.nodes import Node


@method(
    question="trace",
    paper=Paper("Merullo, Eickhoff, Pavlick", 2024, "Circuit Component Reuse Across Tasks in Transformer Language Models",
                "https://arxiv.org/abs/2310.08744"),
    needs=("subject", "task"),
    gives="Finding",
    stochastic=True,
    cost="two forwards, then the suffix of one forward per head and per random set",
    claim="Where a task fails because a few heads attend to the wrong tokens, correcting their attention repairs it.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="That the heads fail on their own: what feeds their queries and keys may be what went wrong.",
    tiny={"draws": 19},
)  # fmt: skip
def attention_transplant(
    subject: Any,
    task: Any,
    heads: Iterable[Node | str],
    *,
    draws: int = 99,
    alpha: float = 0.05,
    seed: int = 0,
) -> Finding:
    """Put the attention patterns of some heads on the clean prompts into the run on the corrupt (failing) prompts.

    ``gain = accuracy(corrupt, pattern_h <- clean for h in heads) - accuracy(corrupt)``: only where heads look is changed,
    what they find there is the corrupt prompt's own.

    Parameters
    ----------
    subject : Subject
    task : Task
        Clean: prompts on which the heads attend well (of the same task, or of another with the same layout). Corrupt: the
        failing prompts, for which `answers` is right.
    heads : iterable of Node or str
        Heads at attn.z, e.g. ["a0.h1", "a1.h0"].
    draws : int, default 99
        Random sets of as many other heads.
    alpha : float, default 0.05
    seed : int, default 0

    Returns
    -------
    Finding
        Estimate: gain in accuracy with its interval over prompt groups. Null: gains of random sets of other heads. Controls:
        accuracy on corrupt and on clean prompts, mean gain of the random sets. Table: every head alone, effect = gain in the
        probability of the answer, with interval, p, q, and whether it was chosen.

    Raises
    ------
    UsageError
        When a node is no head.
    Degenerate
        When fewer other heads are left than were chosen.

    Notes
    -----
    Null: in a network with random weights where heads look changes the answer by chance only, and the gain is about 0.
    Misleads when clean and corrupt prompts differ in layout: the pattern then points at the wrong tokens.

    Examples
    --------
    >>> import microtome as mt
    >>> subject = mt.load("organism:compiled-ioi")
    >>> found = attention_transplant(subject, subject.organism.examples(32), ["a1.h0", "a1.h2"], draws=19)
    >>> sorted(found.controls)
    ['accuracy on clean', 'accuracy on corrupt', 'mean gain of random heads']

    References
    ----------
    Merullo, Eickhoff, Pavlick (2024). Circuit Component Reuse Across Tasks in Transformer Language Models.
    https://arxiv.org/abs/2310.08744
    """
    chosen, every = as_nodes(subject, heads, 0), nodes(subject, "head")
    stray = [str(n) for n in chosen if n not in set(every)]
    if stray:
        raise UsageError(f"attention is transplanted head by head; {stray[:3]} are no heads. Name them like 'a1.h0'.")
    if draws < 1:
        raise UsageError(f"draws must be at least 1, got {draws}.")
    if 2 * len(chosen) > len(every):
        raise Degenerate(f"{len(chosen)} of {len(every)} heads leave too few others for random sets of that size.")
    smooth = bound_pairs(subject, task, "probability")
    hard = as_accuracy(smooth)
    patterns = sorted({_pattern(n) for n in every})
    clean, right = measured(subject, hard.inputs, hard.metric, record=patterns)
    place = {n: i for i, n in enumerate(every)}
    random = matched_random([place[n] for n in chosen], np.zeros(len(every), int), draws=draws, seed=seed)
    sets = [_edits(s, clean) for s in (chosen, *([every[i] for i in r] for r in random))]
    swept = subject.sweep(hard.corrupt, sets, hard.metric)
    before = measured(subject, hard.corrupt, hard.metric)[1]
    gains = swept.values.double().numpy() - before
    single = subject.sweep(smooth.corrupt, [_edits([n], clean) for n in every], smooth.metric)
    alone = single.values.double().numpy() - measured(subject, smooth.corrupt, smooth.metric)[1]
    mean, groups = float(gains[0].mean()), np.asarray(hard.groups)
    spread = resampled_means(gains[:1], groups, 999, seed, "transplant")[:, 0]
    return Finding(
        f"giving {len(chosen)} heads the attention of the clean prompts repairs '{task.name}'",
        estimate=estimated(mean, spread, len(set(groups.tolist())), "accuracy", "bootstrap over prompt groups"),
        nulls=(Null(f"random sets of {len(chosen)} other heads", gains[1:].mean(1), mean, "greater"),),
        controls={"accuracy on corrupt": float(before.mean()), "accuracy on clean": float(right.mean()),
                  "mean gain of random heads": float(gains[1:].mean())},
        table=_table(every, chosen, alone, groups, seed), alpha=alpha,
        provenance=Provenance(subject=subject.fingerprint(), data=task.fingerprint(), seed=seed,
                              forwards=swept.forwards + single.forwards + 3),
    )  # fmt: skip


def _pattern(node: Node) -> str:
    return node.site.replace("attn.z", "attn.pattern")


def _edits(heads: Iterable[Node], clean: Any) -> list[Edit]:
    """One edit per layer that holds the patterns of its heads at those of the clean run."""
    layers: dict[str, list[int]] = {}
    for node in heads:
        layers.setdefault(_pattern(node), []).append(node.head or 0)
    return [freeze(site, clean, head=sorted(chosen)) for site, chosen in sorted(layers.items())]


def _table(every: list[Node], chosen: list[Node], alone: np.ndarray, groups: np.ndarray, seed: int) -> Any:
    import pandas as pd

    effect = alone.mean(1)
    low, high = np.percentile(resampled_means(alone, groups, 999, seed, "transplant", "alone"), [2.5, 97.5], axis=0)
    p = sign_flip_family(_group_means(alone, groups)[0].T, draws=999, seed=seed).p
    return pd.DataFrame({
        "node": [n.short for n in every], "site": [n.site for n in every], "layer": [n.layer for n in every],
        "head": [n.head for n in every], "effect": effect, "low": np.minimum(low, effect), "high": np.maximum(high, effect),
        "p": p, "q": benjamini_hochberg(p), "chosen": [n in chosen for n in every],
    })  # fmt: skip

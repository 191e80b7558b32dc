"""Completeness: does the circuit break as the whole model does when parts of it are taken away?"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from microtome.errors import UsageError
from microtome.evidence import Finding, Null, Provenance
from microtome.method import Paper, method
from microtome.rng import rng
from microtome.trace.circuit import Circuit, random_circuits
from microtome.trace.knockout import Ablation, Knockouts
from microtome.trace.measured import bound_pairs
from microtome.trace.nodes import Node
from microtome.trace.share import share_of

Set = frozenset[Node]


@method(
    question="trace",
    paper=Paper("Wang, Variengien, Conmy, Shlegeris, Steinhardt", 2022, "Interpretability in the Wild: a Circuit for Indirect "
                "Object Identification in GPT-2 small", "https://arxiv.org/abs/2211.00593"),
    needs=("subject", "task"),
    gives="Finding",
    stochastic=True,
    cost="two forwards of half the prompts per subset tried; a greedy step tries every node left",
    claim="A faithful circuit can still lack components: they show when parts of the circuit are taken away.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="That no subset shows a gap: the search tries the empty set, single nodes, random sets and a greedy path.",
    tiny={"subsets": 3, "random": 5},
)  # fmt: skip
def completeness(
    subject: Any,
    task: Any,
    circuit: Circuit,
    *,
    ablation: Ablation = "mean",
    subsets: int = 10,
    random: int = 19,
    metric: str | None = None,
    alpha: float = 0.05,
    seed: int = 0,
) -> Finding:
    """Search the subset K of the circuit without which circuit and model differ most.

    ``gap(K) = |F(C - K) - F(M - K)| / (F(M) - F(0))``, with F(X) the mean metric when all components outside X are knocked
    out, C the circuit and M the model. K is searched on one half of the prompt groups and its gap is measured on the other.

    Parameters
    ----------
    subject : Subject
    task : Task
        At least two groups of prompts.
    circuit : Circuit
    ablation : {"mean", "corrupt", "resample", "zero"}
        What knocked-out components are set to. Paper: mean.
    subsets : int, default 10
        Random subsets tried. Paper: also whole classes of heads.
    random : int, default 19
        Random circuits of the same size, searched in the same way.
    metric : str, optional
        Default: the task's.
    alpha : float, default 0.05
    seed : int, default 0
        Of the split, the subsets and the random circuits.

    Returns
    -------
    Finding
        Estimate: the gap of the worst subset on the held-out half; near 0 = complete. Null: the same for random circuits
        (supported = smaller than theirs). Table: the worst subset of each way to search.

    Raises
    ------
    SubjectMismatch
        When the circuit belongs to another subject.
    UsageError
        When the circuit is empty or `random` is below 1.
    Degenerate
        When there is one group of prompts, or knocking everything out changes nothing.

    Notes
    -----
    Null: a random circuit differs from the model even with nothing taken away.
    Misleads when everything is in the circuit: that is complete, and explains nothing. Read it beside `minimality`.

    Examples
    --------
    >>> import microtome as mt
    >>> subject = mt.load("organism:compiled-ioi")
    >>> task = subject.organism.examples(48)
    >>> heads = mt.trace.nodes(subject, "head")
    >>> naive = mt.trace.Circuit.of_names(["a0.h1", "a0.h3", "a1.h0", "a1.h2", "a2.h1"], heads)
    >>> whole = naive.plus([mt.trace.Node.parse("a2.h3")])     # the backup
    >>> gaps = [mt.trace.completeness(subject, task, c, random=1).estimate.value for c in (naive, whole)]
    >>> gaps[0] > 0.3, gaps[1] < 0.05
    (True, True)

    References
    ----------
    Wang, Variengien, Conmy, Shlegeris, Steinhardt (2022). Interpretability in the Wild: a Circuit for Indirect Object
    Identification in GPT-2 small. https://arxiv.org/abs/2211.00593
    """
    import pandas as pd

    known = circuit.require(subject)
    if not circuit.nodes or random < 1:
        raise UsageError(f"completeness needs a circuit that is not empty and random >= 1; got {circuit!r} and {random}.")
    halves = [Knockouts(subject, bound_pairs(subject, half, metric), circuit.universe, ablation, seed)
              for half in task.split(seed)]  # fmt: skip
    best = _search(halves[0], circuit.nodes, subsets, seed)
    rows = [{"found_by": way, "without": ", ".join(map(str, sorted(k))) or "nothing", "size": len(k),
             "gap_where_found": abs(gap), "gap": _share(halves[1], circuit.nodes, k, gap).value}
            for way, (k, gap) in best.items()]  # fmt: skip
    estimate = _share(halves[1], circuit.nodes, *_worst(best), seed)
    null = [_share(halves[1], c, *_worst(_search(halves[0], c, subsets, seed))).value
            for c in random_circuits(circuit, random, seed)]  # fmt: skip
    return Finding(
        f"the circuit of {len(circuit)} components for '{task.name}' is complete: without any part of it, it does what the "
        "model does without that part", estimate=estimate,
        nulls=(Null("gap of random circuits of the same size", null, estimate.value, "less"),), table=pd.DataFrame(rows),
        provenance=Provenance(subject=known, data=task.fingerprint(), seed=seed,
                              forwards=sum(h.forwards for h in halves) / 2), alpha=alpha,
    )  # fmt: skip


def _gaps(under: Knockouts, circuit: Iterable[Node], sets: list[Set]) -> np.ndarray:
    """F(C - K) - F(M - K) [sets, n]."""
    inside = frozenset(circuit)
    return under.kept([inside - k for k in sets]) - under.values(sets)


def _search(under: Knockouts, circuit: Iterable[Node], subsets: int, seed: int) -> dict[str, tuple[Set, float]]:
    """Way of searching -> (its worst subset, signed gap in units of the metric)."""
    nodes = sorted(circuit)
    draw = rng(seed, "completeness").random((subsets, len(nodes))) < 0.5
    ways = {"nothing": [frozenset()], "single": [frozenset([n]) for n in nodes],
            "random": [frozenset(n for n, yes in zip(nodes, row) if yes) for row in draw]}  # fmt: skip
    best = {way: _largest(under, nodes, sets) for way, sets in ways.items() if sets}
    best["greedy"] = list(_greedy(under, nodes, _worst(best)))[-1]
    return best


def _greedy(under: Knockouts, nodes: list[Node], start: tuple[Set, float]) -> Iterator[tuple[Set, float]]:
    """From the worst subset so far, the node that widens the gap most is added, until none does."""
    k, gap = start
    while True:
        yield k, gap
        longer = [k | {n} for n in nodes if n not in k]
        if not longer:
            return
        following = _largest(under, nodes, longer)
        if abs(following[1]) <= abs(gap):
            return
        k, gap = following


def _largest(under: Knockouts, nodes: list[Node], sets: list[Set]) -> tuple[Set, float]:
    means = _gaps(under, nodes, sets).mean(axis=1)
    i = int(np.abs(means).argmax())
    return sets[i], float(means[i])


def _worst(best: dict[str, tuple[Set, float]]) -> tuple[Set, float]:
    return max(best.values(), key=lambda found: abs(found[1]))


def _share(under: Knockouts, circuit: Iterable[Node], k: Set, gap: float, seed: int = 0) -> Any:
    """The gap of K as a share of the behaviour, positive where it has the sign that it had where K was found."""
    whole, none = under.values([(), under.universe])
    part = np.sign(gap or 1.0) * _gaps(under, circuit, [k])[0] * np.sign(under.span)
    return share_of(part, np.sign(under.span) * (whole - none), under.bound.groups, seed)

"""Minimality: is every node of the circuit needed?"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from microtome.errors import UsageError
from microtome.evidence import Estimate, Finding, Null, Provenance
from microtome.method import Paper, method
from microtome.rng import rng
from microtome.trace.circuit import Circuit
from microtome.trace.knockout import Ablation, Knockouts
from microtome.trace.measured import bound_pairs
from microtome.trace.nodes import Node
from microtome.trace.share import share_of


@method(
    question="trace",
    paper=Paper("Wang, Variengien, Conmy, Shlegeris, Steinhardt", 2022, "Interpretability in the Wild: a Circuit for Indirect "
                "Object Identification in GPT-2 small", "https://arxiv.org/abs/2211.00593"),
    needs=("subject", "task"),
    gives="Finding",
    stochastic=True,
    cost="two forwards of half the prompts per node and subset tried",
    claim="For every node of the circuit there is a part of the circuit without which that node matters.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="That no smaller circuit would do: nodes are judged one at a time.",
    tiny={"subsets": 3},
)  # fmt: skip
def minimality(
    subject: Any,
    task: Any,
    circuit: Circuit,
    *,
    ablation: Ablation = "mean",
    subsets: int = 10,
    metric: str | None = None,
    alpha: float = 0.05,
    seed: int = 0,
) -> Finding:
    """For each node v, search the part K of the circuit without which losing v changes most.

    ``score(v) = max_K |F(C - K - v) - F(C - K)| / (F(M) - F(0))``, with F(X) the mean metric when all components outside X
    are knocked out, C the circuit, M the model. K is chosen on one half of the prompt groups, the score measured on the
    other. K: nothing, each other node, random subsets.

    Parameters
    ----------
    subject : Subject
    task : Task
        At least two groups of prompts.
    circuit : Circuit
    ablation : {"mean", "corrupt", "resample", "zero"}
        What knocked-out components are set to. Paper: mean.
    subsets : int, default 10
        Random subsets tried for each node. Paper: chosen by hand.
    metric : str, optional
        Default: the task's.
    alpha : float, default 0.05
    seed : int, default 0
        Of the split and the subsets.

    Returns
    -------
    Finding
        Estimate: the score of the least needed node. Null: the scores of components outside the circuit, each added to it
        (supported = larger than theirs). Table: node, score with interval, K.

    Raises
    ------
    SubjectMismatch
        When the circuit belongs to another subject.
    UsageError
        When the circuit is empty.
    Degenerate
        When there is one group of prompts, or knocking everything out changes nothing.

    Notes
    -----
    Null: a component that takes no part scores near 0 wherever it is added.
    Misleads when two nodes do one thing: each is needed only without the other, and both are kept.

    Examples
    --------
    >>> import microtome as mt
    >>> subject = mt.load("organism:compiled-ioi")
    >>> task = subject.organism.examples(48)
    >>> heads = mt.trace.nodes(subject, "head")
    >>> circuit = mt.trace.Circuit.of_names(["a0.h1", "a0.h3", "a1.h0", "a1.h1", "a1.h2", "a2.h1"], heads)
    >>> table = mt.trace.minimality(subject, task, circuit).table
    >>> table.loc[table.in_circuit & (table.score < 0.02), "node"].tolist()      # the noise head
    ['a1.h1']

    References
    ----------
    Wang, Variengien, Conmy, Shlegeris, Steinhardt (2022). Interpretability in the Wild: a Circuit for Indirect Object
    Identification in GPT-2 small. https://arxiv.org/abs/2211.00593
    """
    import pandas as pd

    known = circuit.require(subject)
    if not circuit.nodes:
        raise UsageError("minimality needs a circuit that is not empty.")
    halves = [Knockouts(subject, bound_pairs(subject, half, metric), circuit.universe, ablation, seed)
              for half in task.split(seed)]  # fmt: skip
    inside = [_score(halves, v, frozenset(circuit.nodes) - {v}, subsets, seed) for v in circuit.nodes]
    outside = [_score(halves, v, frozenset(circuit.nodes), subsets, seed) for v in circuit.outside]
    rows = [{"node": str(v), "score": e.value, "low": e.value if e.low is None else e.low,
             "high": e.value if e.high is None else e.high, "without": ", ".join(map(str, sorted(k))) or "nothing",
             "in_circuit": v in circuit.nodes}
            for v, (k, e) in zip((*circuit.nodes, *circuit.outside), (*inside, *outside))]  # fmt: skip
    least = min((e for _, e in inside), key=lambda e: e.value)
    null = [Null("components outside, each added to it", [e.value for _, e in outside], least.value)] if outside else ()
    return Finding(
        f"each of the {len(circuit)} components of the circuit for '{task.name}' is needed", estimate=least,
        nulls=null, table=pd.DataFrame(rows), alpha=alpha,
        provenance=Provenance(subject=known, data=task.fingerprint(), seed=seed,
                              forwards=sum(h.forwards for h in halves) / 2),
        notes=() if outside else ("All components are in the circuit: none is left to compare with.",),
    )  # fmt: skip


def _score(
    halves: list[Knockouts], v: Node, others: Iterable[Node], subsets: int, seed: int
) -> tuple[frozenset[Node], Estimate]:
    """The subset without which losing v changes most, and the share of the behaviour that it then changes."""
    rest = sorted(others)
    draw = rng(seed, "minimality", str(v)).random((subsets, len(rest))) < 0.5
    parts = [frozenset(), *(frozenset([n]) for n in rest)]
    parts += [frozenset(n for n, yes in zip(rest, row) if yes) for row in draw]
    lost = _lost(halves[0], v, rest, parts).mean(axis=1)
    k, sign = parts[int(np.abs(lost).argmax())], np.sign(lost[np.abs(lost).argmax()] or 1.0)
    judge = halves[1]
    whole, none = judge.values([(), judge.universe])
    side = np.sign(judge.span)
    part = side * sign * _lost(judge, v, rest, [k])[0]
    return k, share_of(part, side * (whole - none), judge.bound.groups, seed)


def _lost(under: Knockouts, v: Node, rest: list[Node], parts: list[frozenset[Node]]) -> np.ndarray:
    """F(C - K) - F(C - K - v) [parts, n], with C = rest and v."""
    left = [frozenset(rest) - k for k in parts]
    return under.kept([x | {v} for x in left]) - under.kept(left)

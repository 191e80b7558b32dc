"""The faithfulness card: how much of a behaviour a circuit carries, over the choices that change the answer."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from microtome.errors import UsageError
from microtome.evidence import Finding, Null, Provenance
from microtome.method import Paper, method
from microtome.trace.circuit import Circuit, random_circuits
from microtome.trace.effects import EPSILON
from microtome.trace.knockout import ABLATIONS, Knockouts
from microtome.trace.measured import bound_pairs
from microtome.trace.share import share_of


@method(
    question="trace",
    paper=Paper("Wang, Variengien, Conmy, Shlegeris, Steinhardt", 2022, "Interpretability in the Wild: a Circuit for Indirect "
                "Object Identification in GPT-2 small", "https://arxiv.org/abs/2211.00593"),
    needs=("subject", "task"),
    gives="Finding",
    stochastic=True,
    cost="one forward per ablation type, circuit and random circuit, stacked on the batch",
    claim="A circuit of few heads keeps most of the behaviour when everything else is knocked out; a random one does not.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="That nothing outside the circuit takes part: see completeness, where backups show.",
    tiny={"random": 5},
)  # fmt: skip
def faithfulness(
    subject: Any,
    task: Any,
    circuit: Circuit,
    *,
    ablations: Sequence[str] = ("mean", "corrupt"),
    random: int = 39,
    metric: str | None = None,
    alpha: float = 0.05,
    seed: int = 0,
) -> Finding:
    """Knock out everything outside the circuit, and the circuit itself, and compare with the whole model.

    ``f = (m(C) - m(0)) / (m(M) - m(0))``: m(C) with all components outside C knocked out, m(0) with all knocked out, m(M)
    the model. 1 = the circuit does it all. Completeness = the same for the model without the circuit (0 is complete).

    Parameters
    ----------
    subject : Subject
    task : Task
        Other prompts than those that found the circuit.
    circuit : Circuit
    ablations : sequence of str
        Among "mean" (over corrupt prompts, per position), "corrupt", "resample", "zero".
    random : int, default 39
        Random circuits of the same size per layer kind.
    metric : str, optional
        Default: the task's.
    alpha : float, default 0.05
    seed : int, default 0

    Returns
    -------
    Finding
        Estimate: faithfulness under the first ablation, ratio of means, interval over prompt groups. Null: random circuits of
        the same size. Table (the card): ablation x what is left x aggregation (ratio of means, mean of ratios).

    Raises
    ------
    SubjectMismatch
        When the circuit belongs to another subject.
    UsageError
        When no ablation is given, or an unknown one.
    Degenerate
        When knocking everything out does not change the metric.

    Notes
    -----
    Null: a random circuit of the same size keeps about size / components of the behaviour.
    Misleads when f is near 1 only under one ablation or one aggregation: read the whole card.

    Examples
    --------
    >>> import microtome as mt
    >>> subject = mt.load("organism:compiled-ioi")
    >>> task = subject.organism.examples(32)
    >>> heads = mt.trace.nodes(subject, "head")
    >>> circuit = mt.trace.Circuit.of_names(["a0.h1", "a0.h3", "a1.h0", "a1.h2", "a2.h1"], heads)
    >>> found = mt.trace.faithfulness(subject, task, circuit, ablations=["mean"])
    >>> found.estimate.value > 0.95, found.verdict
    (True, 'supported')

    References
    ----------
    Wang, Variengien, Conmy, Shlegeris, Steinhardt (2022). Interpretability in the Wild: a Circuit for Indirect Object
    Identification in GPT-2 small. https://arxiv.org/abs/2211.00593
    """
    import pandas as pd

    if isinstance(ablations, str) or not ablations:
        raise UsageError(f"ablations must be a list of at least one of {ABLATIONS}, got {ablations!r}.")
    known = circuit.require(subject)
    bound = bound_pairs(subject, task, metric)
    draws = random_circuits(circuit, random, seed)
    rows, null, headline, forwards = [], np.zeros(0), None, 0.0
    for ablation in ablations:
        under = Knockouts(subject, bound, circuit.universe, ablation, seed)  # type: ignore[arg-type]
        whole, none, only, without = under.values([(), circuit.universe, circuit.outside, circuit.nodes])
        for name, part in (("circuit alone", only), ("model without the circuit", without)):
            each = (part - none) / np.where(np.abs(whole - none) < EPSILON, np.nan, whole - none)
            each = each[np.isfinite(each)]
            estimate = share_of(part - none, whole - none, bound.groups, seed)
            rows.append({"ablation": ablation, "left": name, "ratio_of_means": estimate.value, "low": estimate.low,
                         "high": estimate.high, "mean_of_ratios": float(each.mean()),
                         "spread_of_ratios": float(each.std()), "metric": float(part.mean())})  # fmt: skip
            headline = headline or estimate
        if not len(null):
            null = (under.kept(draws).mean(axis=1) - none.mean()) / under.span
        forwards += under.forwards
    return Finding(
        f"{len(circuit)} of {len(circuit.universe)} components carry '{task.name}' when all others are knocked out",
        estimate=headline, nulls=(Null("random circuits of the same size", null, headline.value, "greater"),),  # type: ignore[union-attr]
        table=pd.DataFrame(rows), alpha=alpha,
        provenance=Provenance(subject=known, data=task.fingerprint(), seed=seed, forwards=forwards),
    )  # fmt: skip

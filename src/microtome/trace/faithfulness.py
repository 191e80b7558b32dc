"""The faithfulness card: how much of a behaviour a circuit carries, over the choices that change the answer."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from microtome.errors import Degenerate, SubjectMismatch
from microtome.evidence import Finding, Null, Provenance, cluster_bootstrap
from microtome.evidence.estimate import Estimate
from microtome.method import Paper, method
from microtome.rng import rng
from microtome.trace.circuit import Circuit
from microtome.trace.effects import EPSILON
from microtome.trace.knockout import ABLATIONS, metric_under, references


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
    Degenerate
        When knocking everything out does not change the metric.

    Notes
    -----
    Null: a random circuit of the same size keeps about size / components of the behaviour.
    Misleads when f is near 1 only under one ablation or one aggregation: read the whole card.

    Examples
    --------
    >>> import microtome as mt                                                               # doctest: +SKIP
    >>> mt.trace.faithfulness(subject, held_out, circuit)                                    # doctest: +SKIP

    References
    ----------
    Wang, Variengien, Conmy, Shlegeris, Steinhardt (2022). Interpretability in the Wild: a Circuit for Indirect Object
    Identification in GPT-2 small. https://arxiv.org/abs/2211.00593
    """
    import pandas as pd

    known = subject.fingerprint()
    if circuit.subject and circuit.subject != known:
        raise SubjectMismatch("the circuit was found on another subject; find it again on this one.")
    bound = subject.bind(task, metric=metric)
    sites = sorted({n.site for n in circuit.universe})
    draws = _random_circuits(circuit, random, seed)
    rows, null, headline, forwards = [], np.zeros(0), None, 0.0
    for k, ablation in enumerate(ablations):
        reference = references(subject, bound, sites, ablation, seed)  # type: ignore[arg-type]
        sets = [(), circuit.universe, circuit.outside, circuit.nodes]
        if k == 0:
            sets += [tuple(n for n in circuit.universe if n not in d) for d in draws]
        values = metric_under(subject, bound, sets, reference)
        forwards += len(sets) + 1.0
        whole, none, only, without = values[:4]
        span = whole.mean() - none.mean()
        if abs(span) < EPSILON:
            raise Degenerate(f"knocking out all components ({ablation}) changes {bound.metric.name} of '{task.name}' by "
                             f"{span:.1e}: these components do not carry the behaviour.")  # fmt: skip
        for name, part in (("circuit alone", only), ("model without the circuit", without)):
            each = (part - none) / np.where(np.abs(whole - none) < EPSILON, np.nan, whole - none)
            estimate = _ratio(part - none, whole - none, bound.groups, seed)
            rows.append({"ablation": ablation, "left": name, "ratio_of_means": estimate.value, "low": estimate.low,
                         "high": estimate.high, "mean_of_ratios": float(np.nanmean(each)),
                         "spread_of_ratios": float(np.nanstd(each)), "metric": float(part.mean())})  # fmt: skip
            headline = headline or estimate
        if k == 0:
            null = (values[4:].mean(axis=1) - none.mean()) / span
    return Finding(
        f"{len(circuit)} of {len(circuit.universe)} components carry '{task.name}' when all others are knocked out",
        estimate=headline, nulls=(Null("random circuits of the same size", null, headline.value, "greater"),),  # type: ignore[union-attr]
        table=pd.DataFrame(rows), alpha=alpha,
        provenance=Provenance(subject=known, data=task.fingerprint(), seed=seed, forwards=forwards),
    )  # fmt: skip


def _random_circuits(circuit: Circuit, draws: int, seed: int) -> list[set]:
    """Random sets with as many nodes of each site kind as the circuit."""
    stream = rng(seed, "random circuits")
    kinds: dict[str, list] = {}
    for node in circuit.universe:
        kinds.setdefault(node.site.rpartition(".")[2], []).append(node)
    count = {k: sum(1 for n in circuit.nodes if n.site.rpartition(".")[2] == k) for k in kinds}
    return [{kinds[k][i] for k in kinds for i in stream.choice(len(kinds[k]), count[k], replace=False)} for _ in range(draws)]


def _ratio(part: np.ndarray, whole: np.ndarray, groups: Any, seed: int) -> Estimate:
    """Ratio of means with an interval over groups."""
    scale = float(whole.mean())
    if len(set(groups)) < 2:
        value = float(part.mean() / scale)
        return Estimate(value, value, value, n=len(part), unit="share", method="one group: no interval")
    linear = part - part.mean() / scale * (whole - scale)  # first-order expansion of the ratio around the means
    found = cluster_bootstrap(linear / scale, np.asarray(groups), seed=seed)
    value = float(part.mean() / scale)
    return Estimate(value, min(found.low, value), max(found.high, value), n=len(part), unit="share of the behaviour",
                    method="cluster bootstrap of the ratio")  # fmt: skip


__all__ = ["ABLATIONS", "faithfulness"]

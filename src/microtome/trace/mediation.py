"""Mediation: total, indirect and direct effect of any mediator, on the same footing."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from microtome.evidence import Finding
from microtome.method import Paper, method
from microtome.trace.activation_patching import activation_patching
from microtome.trace.edges import Edge
from microtome.trace.listing import Kind
from microtome.trace.nodes import Node

if TYPE_CHECKING:
    from microtome.subject.basis import Basis


@method(
    question="trace",
    paper=Paper("Mueller, Brinkmann, Li et al.", 2024, "The Quest for the Right Mediator: A History, Survey, and Theoretical "
                "Grounding of Causal Interpretability", "https://arxiv.org/abs/2408.01416"),
    needs=("subject", "task"),
    gives="Finding",
    stochastic=True,
    cost="four forwards, then the suffix of two forwards per mediator, stacked on the batch",
    claim="Heads, neurons, directions, features and edges can be compared as mediators of one behaviour with one measure.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="That effects of several mediators add up, or that direct and indirect do in a network that is not linear.",
    tiny={"nodes": "layer"},
)  # fmt: skip
def mediation(
    subject: Any,
    task: Any,
    *,
    nodes: "Kind | Basis | Iterable[Node | Edge | str]" = "head",
    metric: str | None = None,
    alpha: float = 0.05,
    seed: int = 0,
) -> Finding:
    """Split the effect of the clean input into what passes through each mediator and what passes beside it.

    Going from corrupt (untreated) to clean (treated): ``total = m(clean) - m(corrupt)``; natural indirect effect
    ``NIE = m(corrupt, mediator <- clean) - m(corrupt)``; natural direct effect
    ``NDE = m(clean, mediator <- corrupt) - m(corrupt)``. ``interaction = total - NDE - NIE`` is 0 where everything is linear;
    the identity that always holds is ``total = NDE + (NIE + interaction)``, the bracket being the reversed indirect effect.

    Parameters
    ----------
    subject : Subject
    task : Task
    nodes : str, Basis, or iterable of Node, Edge or str
        As in `activation_patching`: heads, neurons, layers, the coordinates of a basis, or edges.
    metric : str, optional
        Default: the task's.
    alpha : float, default 0.05
    seed : int, default 0
        Of the intervals.

    Returns
    -------
    Finding
        Of the mediator with the largest indirect effect. Table, in units of the metric: node, total, indirect, direct,
        interaction; and effect = indirect / total with interval and q. The cost is in ``provenance.forwards``.

    Raises
    ------
    UsageError, SiteError
        When a node is unknown.
    Degenerate
        When clean and corrupt metrics do not differ.

    Notes
    -----
    Null: in a network with random weights no mediator has a consistent effect.
    Misleads when mediators back each other up: NIE is then small and the reversed indirect effect smaller still.

    Examples
    --------
    >>> import microtome as mt
    >>> subject = mt.load("organism:compiled-ioi")
    >>> found = mt.trace.mediation(subject, subject.organism.examples(32))
    >>> row = found.table.set_index("node").loc["a1.h0"]
    >>> bool(abs(row.total - row.direct - row.indirect - row.interaction) < 1e-9), bool(row.interaction < -1)     # backup
    (True, True)

    References
    ----------
    Mueller, Brinkmann, Li et al. (2024). The Quest for the Right Mediator. https://arxiv.org/abs/2408.01416
    Pearl (2001). Direct and Indirect Effects. https://arxiv.org/abs/1301.2300
    """
    into, away = (
        activation_patching(subject, task, nodes=nodes, direction=d, metric=metric, seed=seed)  # type: ignore[arg-type]
        for d in ("denoising", "noising")
    )
    total = float(into.total.mean())
    indirect, reversed_indirect = into.change.mean(axis=1), away.change.mean(axis=1)
    found = into.finding(alpha=alpha)
    table = found.table.copy()  # type: ignore[union-attr]
    table.insert(3, "total", np.full(len(table), total))
    table.insert(4, "indirect", indirect)
    table.insert(5, "direct", total - reversed_indirect)
    table.insert(6, "interaction", reversed_indirect - indirect)
    cost = replace(found.provenance, forwards=into.forwards + away.forwards)
    return replace(found, claim=f"{into.top(1)[0]} mediates the largest part of '{task.name}' ({into.metric})", table=table,
                   provenance=cost)  # fmt: skip

"""Path patching: the effect of senders on receivers through direct paths only."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from microtome.method import Paper, method
from microtome.trace.edges import direct, other_components, require_receivers
from microtome.trace.effects import Effects
from microtome.trace.listing import Kind, as_nodes
from microtome.trace.measured import bound_pairs, measured, shared_length
from microtome.trace.nodes import Node


@method(
    question="trace",
    paper=Paper("Wang, Variengien, Conmy, Shlegeris, Steinhardt", 2022, "Interpretability in the Wild: a Circuit for Indirect "
                "Object Identification in GPT-2 small", "https://arxiv.org/abs/2211.00593"),
    needs=("subject", "task"),
    gives="Effects",
    stochastic=True,
    cost="two forwards per sender (one when the receiver is the logits)",
    claim="Freezing all other heads isolates the direct effect of a head on the logits or on another head's input.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="The total effect: what goes through other heads is left out on purpose.",
    tiny={"senders": "head"},
)  # fmt: skip
def path_patching(
    subject: Any,
    task: Any,
    *,
    senders: "Kind | Iterable[Node | str]" = "head",
    receivers: "str | Sequence[Node | str]" = "logits",
    freeze_mlps: bool = False,
    metric: str | None = None,
    seed: int = 0,
) -> Effects:
    """Send the corrupt value of each sender along direct paths to the receivers and measure the change.

    Pass 1, on clean inputs: all heads frozen to their clean values but the sender, which has its corrupt value; the inputs of
    the receivers are recorded. Pass 2, on clean inputs: the receivers' inputs are set to the recorded ones, everything else is
    free. ``effect = (m(clean) - m(pass 2)) / (m(clean) - m(corrupt))``. For the logits, pass 1 is enough.

    Parameters
    ----------
    subject : Subject
    task : Task
    senders : str or iterable of Node
        Default all heads.
    receivers : "logits" or sequence of Node
        Nodes at attn.q, attn.k or attn.v of a head, e.g. ``Node("blocks.5.attn.q", head=3)``.
    freeze_mlps : bool, default False
        Whether MLPs are frozen too in pass 1 (else they recompute).
    metric : str, optional
        Default: the task's.
    seed : int, default 0
        Of the intervals.

    Returns
    -------
    Effects

    Raises
    ------
    UsageError
        When a receiver is not a query, key or value.
    SiteError
        When the subject has no heads.
    Degenerate
        When clean and corrupt metrics do not differ.

    Notes
    -----
    Null: in a network with random weights no sender has a consistent effect.
    Misleads when a sender acts through MLPs and they are frozen.

    Examples
    --------
    >>> import microtome as mt
    >>> subject = mt.load("organism:compiled-ioi")
    >>> task = subject.organism.examples(32)
    >>> sorted(str(n) for n in mt.trace.path_patching(subject, task).top(3))
    ['a1.h0', 'a1.h2', 'a2.h1']

    References
    ----------
    Wang, Variengien, Conmy, Shlegeris, Steinhardt (2022). Interpretability in the Wild: a Circuit for Indirect Object
    Identification in GPT-2 small. https://arxiv.org/abs/2211.00593
    """
    bound = bound_pairs(subject, task, metric)
    wanted = as_nodes(subject, senders, shared_length(bound))
    targets = [] if receivers == "logits" else as_nodes(subject, receivers, 0)
    require_receivers(targets)
    frozen = other_components(subject, mlps=freeze_mlps)
    sites = sorted({*frozen, *(n.site for n in wanted)})
    clean, m_clean = measured(subject, bound.inputs, bound.metric, record=sites)
    corrupt, m_corrupt = measured(subject, bound.corrupt, bound.metric, record=sites)
    held = {site: clean[site] for site in frozen}
    sets = [direct(subject, bound.inputs, node.patch(corrupt[node.site]), targets, held) for node in wanted]
    swept = subject.sweep(bound.inputs, sets, bound.metric)
    return Effects(
        wanted, m_clean - swept.values.double().numpy(), m_clean - m_corrupt, np.asarray(bound.groups),
        f"path patching to {', '.join(map(str, targets)) or 'the logits'}", bound.metric.name, task.name,
        subject.fingerprint(), True, 2.0 + len(sets) * bool(targets) + swept.forwards, seed, (), task.fingerprint(),
    )  # fmt: skip

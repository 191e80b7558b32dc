"""Path patching: the effect of senders on receivers through direct paths only."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from microtome.errors import UsageError
from microtome.method import Paper, method
from microtome.subject.edit import Edit
from microtome.trace.effects import Effects
from microtome.trace.nodes import Kind, Node, as_nodes


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
    Degenerate
        When clean and corrupt metrics do not differ.

    Notes
    -----
    Null: in a network with random weights no sender has a consistent effect.
    Misleads when a sender acts through MLPs and they are frozen.

    Examples
    --------
    >>> import microtome as mt                                                               # doctest: +SKIP
    >>> mt.trace.path_patching(subject, task, receivers="logits").top(5)                      # doctest: +SKIP

    References
    ----------
    Wang, Variengien, Conmy, Shlegeris, Steinhardt (2022). Interpretability in the Wild: a Circuit for Indirect Object
    Identification in GPT-2 small. https://arxiv.org/abs/2211.00593
    """
    bound = subject.bind(task, metric=metric)
    wanted = as_nodes(subject, senders, int(bound.inputs.lengths.min()))
    targets = [] if receivers == "logits" else as_nodes(subject, receivers, 0)  # type: ignore[arg-type]
    bad = [str(t) for t in targets if t.site.rpartition(".")[2] not in ("q", "k", "v")]
    if bad:
        raise UsageError(f"receivers must be the logits, or queries, keys or values of heads; got {bad}.")
    frozen = [s.name for s in subject.sites("*attn.z") if s.block is not None]
    frozen += [s.name for s in subject.sites("*mlp.out") if s.block is not None] if freeze_mlps else []
    sites = sorted({*frozen, *(n.site for n in wanted)})
    clean = subject.run(bound.inputs, record=sites, logits=bound.metric.positions)
    corrupt = subject.run(bound.corrupt, record=sites, logits=bound.metric.positions)
    m_clean, m_corrupt = (bound.metric(r.logits[:, 0] if r.logits.ndim == 3 else r.logits).double().cpu().numpy()
                          for r in (clean, corrupt))  # fmt: skip
    hold = [Edit(s, "set", clean[s]) for s in frozen]
    sets: list[list[Edit]] = [[*hold, node.patch(corrupt[node.site])] for node in wanted]
    forwards = 2.0
    if targets:
        sets = [_second_pass(subject, bound, s, targets) for s in sets]
        forwards += len(sets)
    swept = subject.sweep(bound.inputs, sets, bound.metric)
    return Effects(
        wanted, m_clean - swept.values.double().numpy(), m_clean - m_corrupt, np.asarray(bound.groups),
        f"path patching to {'the logits' if not targets else ', '.join(map(str, targets))}", bound.metric.name, task.name,
        subject.fingerprint(), True, forwards + swept.forwards, seed, (), task.fingerprint(),
    )  # fmt: skip


def _second_pass(subject: Any, bound: Any, first: list[Edit], targets: list[Node]) -> list[Edit]:
    """Edits that set the receivers to what they received in pass 1."""
    got = subject.run(bound.inputs, record=sorted({t.site for t in targets}), edits=first, logits="none")
    return [t.patch(got[t.site]) for t in targets]

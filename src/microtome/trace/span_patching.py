"""Span patching: replace what one token is at all layers, and see whether the answer follows."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from microtome.method import Paper, method
from microtome.trace.effects import Effects
from microtome.trace.head_mediation import role_columns
from microtome.trace.measured import bound_pairs, measured
from microtome.trace.spans import Span, set_tokens, stream_sites

FENG = Paper("Feng, Steinhardt", 2024, "How do Language Models Bind Entities in Context?", "https://arxiv.org/abs/2310.17191")


@method(
    question="trace",
    paper=FENG,
    needs=("subject", "task"),
    gives="Effects",
    stochastic=True,
    cost="two forwards, then one forward per role",
    claim="What an attribute's token is at all layers factors into the attribute and its place: it can be exchanged alone.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="At which layer the token matters.",
    tiny={},
)  # fmt: skip
def span_patching(subject: Any, task: Any, *, roles: Sequence[str] | None = None, seed: int = 0) -> Effects:
    """Put the tokens of a role from the corrupt into the clean context, at every layer, and let later tokens compute.

    ``effect = (m(clean) - m(clean, Z_role <- corrupt)) / (m(clean) - m(corrupt))`` with Z the residual streams before all
    blocks. With another context as the corrupt one, and the attribute that it has there as the wrong answer, 1 at the
    attribute's role means that the queried entity is now bound to the other attribute (factorisability).

    Parameters
    ----------
    subject : Subject
    task : Task
    roles : sequence of str, optional
        Default: all roles of the task. "end" is the last token.
    seed : int, default 0
        Of the intervals.

    Returns
    -------
    Effects
        One node per role.

    Raises
    ------
    UsageError
        When a role is unknown, or a prompt lacks it.
    SiteError
        When the subject has no residual stream.
    Degenerate
        When clean and corrupt metrics do not differ.

    Notes
    -----
    Null: in a network with random weights no role has a consistent effect.
    Misleads when the answer is copied from another token that names it too.

    Examples
    --------
    >>> from microtome.testing.planted_network import planted_network
    >>> planted = planted_network(0)
    >>> span_patching(planted.subject, planted.task, roles=["key"]).effect.round(2).tolist()
    [1.0]

    References
    ----------
    Feng, Steinhardt (2024). How do Language Models Bind Entities in Context? https://arxiv.org/abs/2310.17191
    """
    bound = bound_pairs(subject, task)
    wanted = sorted(bound.roles) if roles is None else list(roles)
    columns = role_columns(bound, wanted)
    sites = stream_sites(subject)
    _, m_clean = measured(subject, bound.inputs, bound.metric)
    corrupt, m_corrupt = measured(subject, bound.corrupt, bound.metric, record=sites)
    values = {site: corrupt[site] for site in sites}
    swept = subject.sweep(bound.inputs, [set_tokens(values, [c]) for c in columns.T], bound.metric)
    return Effects(
        [Span(role) for role in wanted], m_clean - swept.values.double().numpy(), m_clean - m_corrupt,
        np.asarray(bound.groups), "span patching", bound.metric.name, task.name, subject.fingerprint(), True,
        2.0 + swept.forwards, seed, (), task.fingerprint(),
    )  # fmt: skip

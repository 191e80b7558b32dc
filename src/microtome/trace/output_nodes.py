"""Output nodes: the smallest set of nodes that writes the answer well enough by itself."""

from typing import Any

from microtome.errors import Degenerate, UsageError
from microtome.method import Paper, method
from microtome.trace.circuit import Circuit
from microtome.trace.direct_effects import direct_effects, replaced
from microtome.trace.measured import bound_pairs


@method(
    question="trace",
    paper=Paper("Lieberum, Rahtz, Kramár, Nanda, Irving, Shah, Mikulik", 2023, "Does Circuit Analysis Interpretability Scale? "
                "Evidence from Multiple Choice Capabilities in Chinchilla", "https://arxiv.org/abs/2307.09458"),
    needs=("subject", "task"),
    gives="Circuit",
    stochastic=False,
    cost="four forwards, then the final norm and head once per node",
    claim="Few nodes write the answer: with the direct contributions of all others replaced, performance stays.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="How the output nodes come to know the answer: what happens at earlier tokens is left as it is.",
    tiny={},
)  # fmt: skip
def output_nodes(subject: Any, task: Any, *, share: float = 0.9) -> Circuit:
    """Keep the nodes of largest direct effect at the last token, as few as keep a share of the behaviour.

    ``min k: m(x_L + sum_{u > k} (out_u(corrupt) - out_u(clean))) >= m_0 + share * (m - m_0)``: x_L is the last residual stream
    at the answer, nodes u are sorted by the size of their direct effect, and m_0 has all of them replaced.

    Parameters
    ----------
    subject : Subject
    task : Task
        Corrupt inputs should have another right answer (another correct option).
    share : float, default 0.9
        Of the logit difference that must be kept, above 0 and at most 1.

    Returns
    -------
    Circuit
        Heads and MLPs with their direct effects as scores; the universe is all of them.

    Raises
    ------
    UsageError
        When `share` is out of range.
    SiteError
        When the subject has no linear head on a residual stream.
    Degenerate
        When clean and corrupt metrics do not differ, or heads and MLPs do not write the behaviour.

    Notes
    -----
    Null: random sets with as many heads and as many MLPs keep less.
    Misleads when nodes work against the answer: leaving them out keeps more than all of the behaviour. Only direct
    contributions are replaced; what a node does through later ones stays.

    Examples
    --------
    >>> import microtome as mt
    >>> subject = mt.load("organism:compiled-ioi")
    >>> output_nodes(subject, subject.organism.examples(32), share=0.99)
    Circuit(2 of 12 nodes: a1.h0, a1.h2)

    References
    ----------
    Lieberum et al. (2023). Does Circuit Analysis Interpretability Scale? https://arxiv.org/abs/2307.09458
    """
    if not 0 < share <= 1:
        raise UsageError(f"share must be above 0 and at most 1, got {share}.")
    effects = direct_effects(subject, task)
    ranked, bound = effects.top(len(effects.nodes)), bound_pairs(subject, task, "logit_difference")
    swept = subject.sweep(bound.inputs, replaced(subject, bound, [ranked[k:] for k in range(len(ranked))]), bound.metric)
    kept = [*swept.values.double().mean(dim=1).tolist(), float(swept.base.double().mean())]
    whole, none = kept[-1], kept[0]
    if whole <= none:
        raise Degenerate(
            f"'{task.name}' is not done better with what its nodes write than without ({whole:.2f} and {none:.2f} logits)."
        )
    enough = next(k for k, value in enumerate(kept) if value >= none + share * (whole - none) - 1e-9)
    return Circuit.of_effects(effects, max(1, enough))

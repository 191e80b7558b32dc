"""Sparse feature circuits: which features of dictionaries everywhere carry a behaviour, and which bring which about."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from microtome.errors import UsageError
from microtome.method import Paper, method
from microtome.subject.edit import ablate
from microtome.trace.attribution_graph import AttributionGraph
from microtome.trace.feature_edges import feature_edges
from microtome.trace.feature_effects import submodule_effects
from microtome.trace.feature_graph import feature_graph
from microtome.trace.measured import bound_pairs
from microtome.trace.stations import stations

if TYPE_CHECKING:
    from microtome.subject.basis import Basis
    from microtome.subject.edit import Edit
    from microtome.subject.unit import Unit


@method(
    question="trace",
    paper=Paper("Marks, Rager, Michaud, Belinkov, Bau, Mueller", 2024, "Sparse Feature Circuits: Discovering and Editing "
                "Interpretable Causal Graphs in Language Models", "https://arxiv.org/abs/2403.19647"),
    needs=("subject", "task", "basis", "gradients"),
    gives="AttributionGraph",
    stochastic=False,
    cost="steps forwards and backwards per dictionary; a forward per prompt, a vector-Jacobian product per node and prompt",
    claim="Integrated gradients rank features as exact interventions do, few features carry a behaviour, and ablating the "
          "irrelevant ones of a classifier removes a spurious cue (SHIFT).",
    notion="post-hoc",
    serves="causality",
    cannot_claim="What the errors of the dictionaries do: they are nodes without parts.",
    tiny={"steps": 2},
)  # fmt: skip
def sparse_feature_circuits(
    subject: Any,
    task: Any,
    bases: "Iterable[Basis]",
    *,
    node_threshold: float = 0.1,
    edge_threshold: float = 0.01,
    steps: int = 10,
    edges: bool = True,
    metric: str | None = None,
) -> AttributionGraph:
    """Features and errors whose indirect effect on a metric is large, and the edges between them.

    ``IE(a) = m(x | do(a = a_corrupt)) - m(x) ~ (1/N sum_k grad_a m at clean + (k + 1/2)/N (corrupt - clean)) . (a_corrupt -
    a_clean)``, one dictionary at a time (its error is interpolated too); ``E(u -> d) = grad_d m . (grad_u d, every other
    dictionary cut) . (u_corrupt - u_clean)``. Summed over positions, averaged over prompts.

    Parameters
    ----------
    subject : Subject
    task : Task
        Pairs of clean and corrupt inputs.
    bases : iterable of Basis
        Dictionaries at attention outputs, MLP outputs, the residual stream. Each must write the site that it reads.
    node_threshold : float, default 0.1
        Nodes with a smaller |IE| are left out; units of the metric. Paper: 0.1.
    edge_threshold : float, default 0.01
        Likewise for edges. Paper: 0.01.
    steps : int, default 10
        N, at midpoints; 1 is attribution patching at the middle. Paper: 10.
    edges : bool, default True
    metric : str, optional
        Default: the task's.

    Returns
    -------
    AttributionGraph
        Over all prompts (position -1): `effect` = IE, `value` = the metric for the output node, mean activity for features.
        Weights are in units of the metric.

    Raises
    ------
    UsageError, ShapeError, SubjectMismatch
        When thresholds or steps are out of range, a basis writes another site than it reads, pairs differ in length.
    Degenerate
        When clean and corrupt metrics do not differ.

    Notes
    -----
    Null: in a network with random weights effects are small and spread over all features.
    Misleads when errors carry the effect: compare `effect` of the error nodes before reading the features. The path moves all
    features of a dictionary together, interactions included. Where many features carry the same thing, none does much alone,
    and one gradient at the clean input (`attribution_patching`) ranks them better; where one feature is a word, as in a wide
    dictionary of the embeddings, that gradient misses most of the effect and the path does not.

    Examples
    --------
    >>> import microtome as mt
    >>> subject = mt.load("organism:compiled-ioi")
    >>> basis = mt.subject.basis.Identity("blocks.1.attn.out", subject.facts.d_model)
    >>> graph = sparse_feature_circuits(subject, subject.organism.examples(8), [basis], edges=False)
    >>> len(graph.of_kind("feature")) > 0
    True

    References
    ----------
    Marks, Rager, Michaud, Belinkov, Bau, Mueller (2024). Sparse Feature Circuits: Discovering and Editing Interpretable
    Causal Graphs in Language Models. https://arxiv.org/abs/2403.19647
    """
    if steps < 1 or node_threshold < 0 or edge_threshold < 0:
        raise UsageError(
            f"steps must be at least 1 and thresholds at least 0, got {steps}, {node_threshold}, {edge_threshold}."
        )
    places = stations(subject, bases)
    wrong = [s.name for s in places if [w.site for w in s.writers] != [s.reads]]
    if wrong:
        raise UsageError(f"{wrong[0]} writes another site than it reads; use dictionaries, or hierarchical_attribution.")
    bound = bound_pairs(subject, task, metric)
    found = submodule_effects(subject, bound, places, steps)
    chosen = {p.station.reads: (p.effect.abs() > node_threshold).nonzero()[:, 0] for p in found.parts}
    errors = {p.station.reads: abs(float(p.error_effect)) > node_threshold for p in found.parts}
    listed = feature_edges(subject, bound, found, chosen, errors, edge_threshold) if edges else []
    return feature_graph(subject, found, chosen, errors, listed)


def shift(bases: "Iterable[Basis]", irrelevant: "Iterable[Unit]") -> "list[Edit]":
    """SHIFT: edits that ablate the features of a classifier that somebody judged irrelevant to its task.

    Parameters
    ----------
    bases : iterable of Basis
        Dictionaries that the units belong to.
    irrelevant : iterable of Unit
        E.g. features of a circuit that encode gender in a classifier of professions.

    Returns
    -------
    list of Edit
        One per dictionary: its irrelevant features set to 0. For ``subject.edit(*edits)`` or ``subject.run(edits=...)``.

    Raises
    ------
    UsageError
        When no unit is given, or a unit belongs to none of the bases.
    """
    known = {(b.site, b.name): b for b in bases}
    by_basis: dict[tuple[str, str], list[int]] = {}
    for unit in irrelevant:
        if (unit.site, unit.basis) not in known:
            raise UsageError(f"{unit} belongs to none of the bases: {', '.join('/'.join(k) for k in known)}.")
        by_basis.setdefault((unit.site, unit.basis), []).append(unit.index)
    if not by_basis:
        raise UsageError("no units were judged irrelevant, so there is nothing to ablate.")
    return [
        ablate(getattr(known[k], "writes", known[k].site), how="zero", unit=sorted(set(u)), basis=known[k])
        for k, u in by_basis.items()
    ]

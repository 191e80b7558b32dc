"""Hierarchical attribution graph decomposition: an attribution graph searched from coarse clusters down to features."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from microtome.errors import NonFinite, UsageError
from microtome.method import Paper, method
from microtome.rng import derive
from microtome.subject.edit import Edit
from microtome.subject.reading import written
from microtome.trace.attribution_graph import AttributionGraph
from microtome.trace.build_graph import attribution_graph
from microtome.trace.circuit import Circuit
from microtome.trace.coarse_to_fine import coarse_to_fine
from microtome.trace.graph_levels import levels
from microtome.trace.graph_merge import affinity, merged
from microtome.trace.measured import bound_pairs, measured, require_effect
from microtome.trace.nodes import Node
from microtome.trace.stations import stations

if TYPE_CHECKING:
    from microtome.subject.basis import Basis

#: Features of one prompt's graph that are followed.
NODES = 200


@method(
    question="trace",
    paper=Paper("Uddin, Alam, Pasha", 2026, "Hierarchical Sparse Circuit Extraction from Billion-Parameter Language Models "
                "through Scalable Attribution Graph Decomposition", "https://arxiv.org/abs/2601.12879"),
    needs=("subject", "task", "basis", "gradients"),
    gives="Circuit",
    stochastic=True,
    cost="an attribution graph per prompt, then one forward per set of features judged and log2(features) to cut the ranking",
    claim="Searching clusters of an attribution graph from coarse to fine finds a circuit with few interventions.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="That no smaller circuit exists, or what the errors of the dictionaries and the attention patterns do.",
    tiny={"share": 0.9},
)  # fmt: skip
def hagd(
    subject: Any,
    task: Any,
    bases: "Iterable[Basis]",
    *,
    scorer: Callable[[AttributionGraph], Tensor] | None = None,
    share: float = 0.9,
    budget: float = 0.4,
    branching: int = 4,
    prompts: int = 16,
    metric: str | None = None,
    seed: int = 0,
) -> Circuit:
    """Find features that carry a behaviour by searching the attribution graph from coarse clusters down to single features.

    1. Graph: ``w(i -> j) = mean_prompts |a_i da_j / da_i|`` over active coordinates, tokens, errors and the answer.
    2. Levels: bottom eigenvectors of ``I - D^-1/2 W D^-1/2`` beside the scores, k-means, again within each cluster.
    3. Search: a cluster is judged by ``m - m(cluster <- corrupt)``; the parts of the one that loses most per feature are next.
    4. Cut: features ranked by what was lost with them; the fewest that keep ``m(0) + share (m - m(0))`` when all others carry
       their corrupt values.

    Parameters
    ----------
    subject : Subject
    task : Task
        Pairs of clean and corrupt inputs.
    bases : iterable of Basis
        Transcoders or dictionaries; the paper has one TopK transcoder per layer, with a predictor of the next layer's code.
    scorer : callable, optional
        Score of each node of the graph, e.g. from `graph_scorer`; default the size of its effect.
    share : float, default 0.9
    budget : float, default 0.4
        Sets that may be judged in step 3, as a share of the active features (at least the coarsest level).
    branching : int, default 4
        Clusters per cluster. Not given in the paper.
    prompts : int, default 16
        Pairs whose graphs are merged.
    metric : str, optional
        Default: the task's.
    seed : int, default 0
        Of k-means.

    Returns
    -------
    Circuit
        Coordinates of the bases; `universe` is what was active, `scores` what was lost with each (its cluster's share where it
        was not judged alone).

    Raises
    ------
    UsageError, ShapeError, SiteError, SubjectMismatch
        When an option is out of range, a basis does not fit, pairs differ in length.
    Degenerate
        When clean and corrupt metrics do not differ.
    NonFinite
        When the metric under an intervention is not a number.

    Notes
    -----
    Null: in a network with random weights the circuit holds most of what is active.
    Misleads when features back each other up: a cluster loses what no feature of it loses alone. The Laplacian knows no
    direction, attention patterns are held while attributing, and errors keep what they carry. The paper gives no code and few
    settings; its gradient refinement of a soft mask is replaced by step 4.

    Examples
    --------
    >>> import microtome as mt
    >>> subject = mt.load("organism:compiled-ioi")
    >>> basis = mt.subject.basis.Identity("blocks.1.attn.out", subject.facts.d_model)
    >>> circuit = hagd(subject, subject.organism.examples(8), [basis], prompts=2)
    >>> 0 < len(circuit) < len(circuit.universe)
    True

    References
    ----------
    Uddin, Alam, Pasha (2026). Hierarchical Sparse Circuit Extraction from Billion-Parameter Language Models through Scalable
    Attribution Graph Decomposition. https://arxiv.org/abs/2601.12879
    """
    derive(seed)
    if not (0 < share <= 1 and 0 < budget <= 1):
        raise UsageError(f"share and budget must be above 0 and at most 1, got {share} and {budget}.")
    if branching < 2 or prompts < 1:
        raise UsageError(f"branching must be at least 2 and prompts at least 1, got {branching} and {prompts}.")
    bases = list(bases)
    places = {s.name: s.basis for s in stations(subject, bases)}
    ablation = Ablation(subject, bound_pairs(subject, task, metric), bases)
    graph = merged([
        attribution_graph(subject, _prompt(ablation.bound.inputs, i), bases, target=pair, nodes=NODES)
        for i, pair in enumerate(zip(ablation.bound.answers.tolist()[:prompts], ablation.bound.wrong.tolist()))
    ])  # fmt: skip
    features = graph.of_kind("feature").tolist()
    if not features:
        raise UsageError("no coordinate of the bases is active on these prompts, so there is nothing to search.")
    nodes = {i: _node(graph, i, places) for i in features}
    scores = (graph.effect.abs() if scorer is None else scorer(graph)).double().numpy()
    root = levels(affinity(graph).double().numpy(), np.array(features), scores[features], branching=branching, seed=seed)
    allowed = max(round(budget * len(features)), len(root.parts) or 1)
    found = coarse_to_fine(root, lambda sets: ablation.lost([[nodes[i] for i in s] for s in sets]), budget=allowed)
    order = [nodes[i] for i in found.ranking(dict(enumerate(scores.tolist())))]
    size = _fewest(ablation, order, share)
    lost = {nodes[i].short: value for i, value in found.within.items()}
    return Circuit(tuple(sorted(order[:size])), tuple(sorted(order)), lost, task.name, subject.fingerprint())


class Ablation:
    """The metric when sets of coordinates carry the values that they have on the corrupt inputs; errors stay."""

    def __init__(self, subject: Any, bound: Any, bases: "Sequence[Basis]") -> None:
        self.subject, self.bound = subject, bound
        self.bases = {(b.site, coordinates(b)): b for b in bases}
        self.clean = measured(subject, bound.inputs, bound.metric)[1]
        corrupt, other = measured(subject, bound.corrupt, bound.metric, record=sorted({b.site for b in bases}))
        require_effect(float((self.clean - other).mean()), "hagd", bound.metric.name, "the task")
        with torch.no_grad():
            self.codes = {key: b.encode(corrupt[b.site]) for key, b in self.bases.items()}

    def metric(self, sets: Sequence[Sequence[Node]]) -> np.ndarray:
        """Mean metric without each of several sets of coordinates [sets].

        Raises
        ------
        NonFinite
            When it is not a number.
        """
        values, real = np.full(len(sets), float(self.clean.mean())), [i for i, s in enumerate(sets) if s]
        if real:
            swept = self.subject.sweep(self.bound.inputs, [self.edits(sets[i]) for i in real], self.bound.metric)
            values[real] = swept.values.double().mean(dim=1).cpu().numpy()
        if not np.isfinite(values).all():
            raise NonFinite("the metric under an ablation is not a number.")
        return values

    def lost(self, sets: Sequence[Sequence[Node]]) -> np.ndarray:
        """What the mean metric loses without each of several sets [sets]."""
        return float(self.clean.mean()) - self.metric(sets)

    def edits(self, nodes: Sequence[Node]) -> list[Edit]:
        """What sets some coordinates to `codes`."""
        units: dict[tuple[str, str], list[int]] = {}
        for node in nodes:
            units.setdefault((node.site, node.coordinates), []).append(node.unit or 0)
        return [
            Edit(written(self.bases[k]), "set", self.codes[k], unit=sorted(u), basis=self.bases[k]) for k, u in units.items()
        ]


def coordinates(basis: "Basis") -> str:
    """By what nodes name a basis: its fingerprint, nothing for a site's own units."""
    return "" if getattr(basis, "kind", "") == "identity" else basis.fingerprint


def _prompt(inputs: Any, row: int) -> Any:
    """One row without its padding."""
    frame = inputs.frame
    return inputs.main[row, int(frame.start[row]) : int(frame.stop[row])] if inputs.ids is not None else inputs[row]


def _node(graph: AttributionGraph, number: int, places: "dict[str, Basis]") -> Node:
    basis = places[graph.places[int(graph.place[number])]]
    return Node(basis.site, unit=int(graph.index[number]), basis=basis)


def _fewest(ablation: Ablation, order: list[Node], share: float) -> int:
    """The fewest of the first nodes that keep a share of the metric with all others ablated, by bisection."""
    whole, none = float(ablation.clean.mean()), float(ablation.metric([order])[0])
    wanted, low, high = none + share * (whole - none), 0, len(order)
    while high - low > 1:
        middle = (low + high) // 2
        enough = float(ablation.metric([order[middle:]])[0]) >= wanted - 1e-9
        low, high = (low, middle) if enough else (middle, high)
    return high

"""A graph of coordinates that a method has chosen, and the edits that keep only them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from microtome.subject.edit import Edit
from microtome.subject.inputs import Inputs
from microtome.trace.attribution_graph import KINDS, AttributionGraph
from microtome.trace.build_graph import Growing
from microtome.trace.frozen import Frozen, frozen
from microtome.trace.graph_targets import Explained
from microtome.trace.stations import Station, stations

if TYPE_CHECKING:
    from microtome.subject.basis import Basis

MEMORY = 256 * 2**20


def chosen_graph(
    subject: Any, prompt: Inputs, places: list[Station], explained: Explained, effects: Mapping[tuple[str, str], Tensor],
    net: Frozen, *, edges: bool,
) -> AttributionGraph:  # fmt: skip
    """The coordinates whose effect is not 0, all leaves, and the direct edges between them.

    Parameters
    ----------
    subject, prompt, places, explained
        What was explained, and through what.
    effects : mapping
        Effect of every source, by kind and site, in the order of `Sources`.
    net : Frozen
        The network that the effects came from.
    edges : bool
        Whether to run the prompt once more, cut at the coordinates, for their edges.
    """
    cut = frozen(subject, prompt, places) if edges else net
    grown = Growing(cut, explained, 0, MEMORY, 1, blank=not edges)
    effect = torch.cat([effects[key].float() for key in grown.sources.spans] + [explained.value.float()])
    chosen = (grown.is_feature & (effect != 0)).nonzero()[:, 0]
    if edges:
        grown.expand_features(chosen)
    else:
        grown.expanded[chosen] = True
    whole = replace(grown.graph(subject, prompt), effect=effect)
    return grown.shown(whole)


def keep_only(
    subject: Any, prompt: Inputs, bases: "Iterable[Basis]", graph: AttributionGraph, nodes: Tensor | None = None
) -> list[Edit]:
    """Edits that set every coordinate outside the graph to 0 at every position; errors stay as they are.

    Parameters
    ----------
    subject : Subject
    prompt : Inputs
        One row, of the length that the graph is of.
    bases : iterable of Basis
        Those that the graph was made with.
    graph : AttributionGraph
    nodes : BoolTensor[nodes], optional
        Which of its nodes count as inside; default all.
    """
    places = stations(subject, bases)
    inside = graph.kind == KINDS.index("feature")
    inside = inside if nodes is None else inside & nodes
    edits = []
    for station in places:
        number = graph.places.index(station.name) if station.name in graph.places else -2
        here = inside & (graph.place == number)
        mask = torch.zeros(1, prompt.main.shape[1], station.basis.dim)
        mask[0, graph.position[here], graph.index[here]] = 1.0
        edits.append(Edit(station.writers[0].site, "scale", mask, basis=station.basis))
    return edits

"""A graph of coordinates that a method has chosen, and the edits that keep only them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from microtome.subject.edit import Edit, replace_with
from microtome.subject.inputs import Inputs
from microtome.trace.attribution_graph import KINDS, AttributionGraph
from microtome.trace.build_graph import Growing
from microtome.trace.frozen import Frozen, flat, frozen
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
    """Edits that set every coordinate outside the graph to 0 at every position; errors are leaves, as they were.

    What a basis writes becomes ``sum_kept z_i W_dec[i] + b_dec + error``: coordinates z of what the edited run gives it to
    read, the error of the unedited one. With all coordinates kept nothing changes.

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
    sites = {s.reads for s in places} | {w.site for s in places for w in s.writers}
    clean = subject.run(prompt, record=sorted(sites), logits="none")
    seen: dict[str, Tensor] = {}
    masks: dict[str, Tensor] = {}
    edits = []
    for station in places:
        number = graph.places.index(station.name) if station.name in graph.places else -2
        here = inside & (graph.place == number)
        mask = torch.zeros(1, prompt.main.shape[1], station.basis.dim)
        mask[0, graph.position[here], graph.index[here]] = 1.0
        masks[station.reads] = mask
        edits.append(replace_with(station.reads, partial(_look, seen, station.reads)))
    for site in dict.fromkeys(w.site for s in places for w in s.writers):
        edits.append(replace_with(site, partial(_rewrite, places, site, masks, clean, seen)))
    return edits


def _look(seen: dict[str, Tensor], site: str, value: Tensor) -> Tensor:
    seen[site] = value
    return value


def _rewrite(
    places: list[Station], site: str, masks: dict[str, Tensor], clean: Any, seen: dict[str, Tensor], value: Tensor
) -> Tensor:
    """The site's clean value, with what its stations brought replaced by what their kept coordinates bring now."""
    out = flat(clean[site])
    for station in places:
        for i, writer in enumerate(station.writers):
            if writer.site == site:
                was, now = flat(clean[station.reads]), flat(seen[station.reads])
                change = station.basis.encode(now) * masks[station.reads].to(now) - station.basis.encode(was)
                out = out + change @ writer.table.to(out)
                if station.skip is not None and i == 0:
                    out = out + (now - was) @ station.skip.to(out)
    return out.view_as(value)

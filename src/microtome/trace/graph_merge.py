"""Attribution graphs of many prompts as one: places in the prompt forgotten, contributions averaged by size."""

from collections.abc import Sequence

import torch
from torch import Tensor

from microtome.errors import UsageError
from microtome.trace.attribution_graph import KINDS, AttributionGraph
from microtome.trace.graph_files import empty
from microtome.trace.graph_maths import mass_of

TOKEN, LOGIT = KINDS.index("token"), KINDS.index("logit")


def merged(graphs: Sequence[AttributionGraph]) -> AttributionGraph:
    """One graph over prompts: a node per coordinate, error, bias or token id wherever it stood, and one output.

    ``w(i -> j) = mean over prompts of sum over positions of |a_i da_j / da_i|``; `effect` is the mean signed sum, `value` the
    mean activity summed over positions.

    Parameters
    ----------
    graphs : sequence of AttributionGraph
        Made with the same bases, one per prompt.

    Raises
    ------
    UsageError
        When there is none.
    """
    if not graphs:
        raise UsageError("no graphs to merge; give at least one prompt.")
    number: dict[tuple[int, str, int, int], int] = {}
    value: dict[int, float] = {}
    effect: dict[int, float] = {}
    weight: dict[tuple[int, int], float] = {}
    for graph in graphs:
        own = [number.setdefault(name, len(number)) for name in _names(graph)]
        for i, (v, e) in enumerate(zip(graph.value.tolist(), graph.effect.tolist())):
            value[own[i]] = value.get(own[i], 0.0) + v / len(graphs)
            effect[own[i]] = effect.get(own[i], 0.0) + e / len(graphs)
        for s, t, w in zip(graph.source.tolist(), graph.target.tolist(), graph.weight.abs().tolist()):
            weight[own[s], own[t]] = weight.get((own[s], own[t]), 0.0) + w / len(graphs)
    return _graph(number, value, effect, weight, graphs[0])


def affinity(graph: AttributionGraph) -> Tensor:
    """|weight| between two nodes either way [nodes, nodes]."""
    out = torch.zeros(len(graph), len(graph))
    out.index_put_((graph.source, graph.target), graph.weight.abs().float(), accumulate=True)
    return out + out.T


def _names(graph: AttributionGraph) -> list[tuple[int, str, int, int]]:
    """Kind, place, layer and index of each node; all logits are one output."""
    columns = zip(graph.kind.tolist(), graph.place.tolist(), graph.layer.tolist(), graph.index.tolist())
    return [(k, "" if p < 0 else graph.places[p], *((0, -1) if k == LOGIT else (l, i))) for k, p, l, i in columns]


def _graph(number: dict, value: dict, effect: dict, weight: dict, like: AttributionGraph) -> AttributionGraph:
    columns, places = empty(len(number)), sorted({name[1] for name in number if name[1]})
    for (kind, place, layer, index), i in number.items():
        columns["kind"][i], columns["layer"][i], columns["index"][i] = kind, layer, index
        columns["place"][i] = places.index(place) if place else -1
        columns["value"][i], columns["effect"][i] = value[i], effect[i]
    columns["start"][columns["kind"] == LOGIT] = 1.0
    columns["expanded"][:] = True
    ends = torch.tensor(list(weight), dtype=torch.long).reshape(-1, 2)
    source, target, sizes = ends[:, 0], ends[:, 1], torch.tensor(list(weight.values()), dtype=torch.float)
    columns["mass"] = mass_of(len(number), target, sizes)
    words = {i: "output" if k[0] == LOGIT else str(k[3]) for k, i in number.items() if k[0] in (LOGIT, TOKEN)}
    about = {**like.about, "made": "merged over prompts: sizes of contributions"}
    return AttributionGraph(
        **columns, source=source, target=target, weight=sizes, places=tuple(places), words=words, about=about
    )  # fmt: skip

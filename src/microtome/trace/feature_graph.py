"""A sparse feature circuit as an `AttributionGraph` over all prompts."""

from typing import Any

import torch
from torch import Tensor

from microtome.trace.attribution_graph import KINDS, AttributionGraph
from microtome.trace.feature_edges import ERROR, OUTPUT, Name
from microtome.trace.feature_effects import Found
from microtome.trace.graph_files import empty
from microtome.trace.graph_maths import mass_of


def feature_graph(
    subject: Any, found: Found, chosen: dict[str, Tensor], errors: dict[str, bool], edges: list[tuple[Name, Name, float]]
) -> AttributionGraph:
    """Nodes: kept features and errors by site, and the output; `start` is on the output."""
    names: list[Name] = []
    places: list[str] = []
    rows: list[tuple[int, int, int, int, float, float]] = []  # kind, place, layer, index, value, effect
    for part in found.parts:
        site = part.station.reads
        block = subject.site(site).block
        layer = subject.trunks[0].dims.blocks if block is None and subject.trunks else block or 0
        for unit in chosen[site].tolist():
            names.append((site, unit))
            place = _place(places, part.station.name)
            rows.append((KINDS.index("feature"), place, layer, unit, float(part.active[unit]), float(part.effect[unit])))
        if errors[site]:
            names.append((site, ERROR))
            rows.append((KINDS.index("error"), _place(places, site), layer, -1, 1.0, float(part.error_effect)))
    names.append(OUTPUT)
    last = subject.trunks[0].dims.blocks if subject.trunks else 0
    rows.append((KINDS.index("logit"), -1, last, -1, float(found.metric.mean()), 0.0))
    columns = empty(len(rows))
    for column, values in zip(("kind", "place", "layer", "index", "value", "effect"), zip(*rows)):
        columns[column] = torch.tensor(values)
    columns["start"][-1], columns["expanded"][:] = 1.0, True
    number = {name: i for i, name in enumerate(names)}
    source, target = (torch.tensor([number[e[k]] for e in edges], dtype=torch.long) for k in (0, 1))
    weight = torch.tensor([e[2] for e in edges], dtype=torch.float)
    columns["mass"] = mass_of(len(rows), target, weight)
    return AttributionGraph(
        **columns, source=source, target=target, weight=weight, places=tuple(places), words={len(rows) - 1: "metric"},
        about={"subject": subject.fingerprint(), "made": "sparse_feature_circuits"},
    )  # fmt: skip


def _place(places: list[str], name: str) -> int:
    if name not in places:
        places.append(name)
    return places.index(name)

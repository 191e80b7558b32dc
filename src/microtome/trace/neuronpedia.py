"""Attribution graphs as Neuronpedia's JSON, out and in: the format that circuit-tracer writes and neuronpedia.org shows."""

import math
import re
from pathlib import Path
from typing import Any

import torch

from microtome import io
from microtome.errors import FormatError, ShapeError
from microtome.trace.attribution_graph import KINDS, AttributionGraph
from microtome.trace.graph_files import empty
from microtome.trace.graph_maths import mass_of

TYPES = {
    "feature": "cross layer transcoder", "error": "mlp reconstruction error", "token": "embedding", "logit": "logit",
    "bias": "bias", "head": "lorsa",
}  # fmt: skip
MAX_NODES, MAX_LINKS = 200_000, 5_000_000


def write_neuronpedia(graph: AttributionGraph, path: str | Path, *, slug: str = "graph", scan: str = "") -> None:
    """Write the graph as Neuronpedia's attribution-graph JSON.

    Parameters
    ----------
    graph : AttributionGraph
    path : str or Path
    slug : str
        Name of the graph in the viewer.
    scan : str
        Model id that the viewer knows, e.g. "gemma-2-2b".
    """
    ids, scores = [_node_id(graph, i) for i in range(len(graph))], graph.influence().tolist()
    nodes = [_node(graph, i, ids[i], scores[i]) for i in range(len(graph))]
    links = [
        {"source": ids[s], "target": ids[t], "weight": w}
        for s, t, w in zip(graph.source.tolist(), graph.target.tolist(), graph.weight.tolist())
    ]
    tokens = list(graph.tokens)
    metadata = {
        "slug": slug, "scan": scan, "transcoder_list": [], "prompt_tokens": tokens, "prompt": "".join(tokens),
        "schema_version": 1, "info": {"creator_name": "microtome", "places": list(graph.places), **graph.about},
    }  # fmt: skip
    parameters = {"linkType": "both", "pinnedIds": [], "clickedId": "", "supernodes": [], "sg_pos": ""}
    io.write_json(path, {"metadata": metadata, "qParams": parameters, "nodes": nodes, "links": links})


def _node_id(graph: AttributionGraph, i: int) -> str:
    kind, place = KINDS[int(graph.kind[i])], int(graph.place[i])
    layer, index, position = (int(getattr(graph, k)[i]) for k in ("layer", "index", "position"))
    if kind == "token":
        return f"E_{index}_{position}"
    if kind in ("error", "bias"):
        return f"{layer}_{kind}{place if place >= 0 else ''}_{position}"
    if kind == "head":
        return f"{layer}_h{index}_{position}_{int(graph.key[i])}"
    return f"{layer + (kind == 'logit')}_{index}_{position}" + (f"_{place}" if kind == "feature" else "_logit")


def _node(graph: AttributionGraph, i: int, name: str, influence: float) -> dict[str, Any]:
    kind = KINDS[int(graph.kind[i])]
    feature, layer = int(graph.index[i]), int(graph.layer[i]) + (kind == "logit")
    word = graph.words.get(i, "")
    return {
        "node_id": name, "jsNodeId": f"{name}-0", "feature": feature, "layer": "E" if kind == "token" else str(layer),
        "ctx_idx": int(graph.position[i]), "feature_type": TYPES[kind], "run_idx": 0, "reverse_ctx_idx": 0,
        "is_target_logit": kind == "logit", "token_prob": float(graph.start[i]), "influence": influence,
        "activation": float(graph.value[i]),
        "clerp": f'Output "{word}" (p={float(graph.start[i]):.3f})' if kind == "logit" else graph.label(i),
        "place": int(graph.place[i]), "rest": float(graph.rest[i]), "mass": float(graph.mass[i]),
        "effect": float(graph.effect[i]),
        "expanded": bool(graph.expanded[i]), "word": word, "key": int(graph.key[i]),
    }  # fmt: skip


def read_neuronpedia(path: str | Path) -> AttributionGraph:
    """A graph from Neuronpedia's JSON: ours, circuit-tracer's, or one downloaded.

    Raises
    ------
    FormatError
        When the file is not such a graph, names nodes that are not there, or holds numbers that are none.
    """
    found: Any = io.read_json(path)
    try:
        nodes, links, metadata = found["nodes"], found["links"], found["metadata"]
        if not all(isinstance(x, list) for x in (nodes, links)) or len(nodes) > MAX_NODES or len(links) > MAX_LINKS:
            raise TypeError(f"nodes and links must be lists of at most {MAX_NODES} and {MAX_LINKS}")
        return _graph(nodes, links, metadata)
    except (KeyError, TypeError, ValueError, AttributeError, ShapeError, FormatError) as error:
        raise FormatError(f"'{path}' is not a Neuronpedia attribution graph: {error!r}.") from error


def _graph(nodes: list[Any], links: list[Any], metadata: Any) -> AttributionGraph:
    columns, words = empty(len(nodes)), {}
    info = metadata.get("info") if isinstance(metadata.get("info"), dict) else {}
    places = [str(p) for p in info.get("places", [])]
    number: dict[str, int] = {}
    for i, node in enumerate(nodes):
        if str(node["node_id"]) in number:
            raise FormatError(f"the node {str(node['node_id'])[:40]!r} stands twice")
        number[str(node["node_id"])] = i
        kind = _kind(str(node["feature_type"]))
        layer = -1 if node["layer"] == "E" else int(node["layer"]) - (kind == "logit")
        columns["kind"][i], columns["layer"][i] = KINDS.index(kind), layer
        columns["position"][i] = int(node["ctx_idx"])
        columns["index"][i], columns["key"][i] = _whole(node.get("feature")), _whole(node.get("key"))
        columns["place"][i] = _place(node, kind, layer, places)
        columns["value"][i] = _finite(node.get("activation"), 1.0)
        columns["start"][i] = _finite(node.get("token_prob"), 0.0) if kind == "logit" else 0.0
        columns["rest"][i] = _finite(node.get("rest"), 0.0)
        columns["effect"][i] = _finite(node.get("effect"), 0.0)
        columns["expanded"][i] = bool(node.get("expanded", kind in ("feature", "logit")))
        if kind == "logit":
            words[i] = str(node.get("word") or node.get("clerp") or "")
    source, target = (torch.tensor([number[str(link[k])] for link in links], dtype=torch.long) for k in ("source", "target"))
    weight = torch.tensor([_finite(link["weight"]) for link in links], dtype=torch.float)
    known = [n.get("mass") for n in nodes]
    found = mass_of(len(nodes), target, weight)
    columns["mass"] = torch.tensor([_finite(k, float(m)) for k, m in zip(known, found)]) if nodes else found
    tokens = tuple(str(t) for t in metadata.get("prompt_tokens", []))
    about = {str(k): str(v) for k, v in info.items() if k != "places"}
    return AttributionGraph(
        **columns, source=source, target=target, weight=weight, tokens=tokens, places=tuple(places), words=words, about=about
    )


def _kind(text: str) -> str:
    by_type = {v: k for k, v in TYPES.items()}
    if text in by_type:
        return by_type[text]
    if "error" in text:
        return "error"
    if "transcoder" in text or "sae" in text.lower():
        return "feature"
    raise FormatError(f"unknown feature_type {text[:40]!r}")


def _place(node: Any, kind: str, layer: int, places: list[str]) -> int:
    """The node's place; for graphs of other tools, features and errors stand at the MLP of their layer."""
    if "place" in node:
        return _whole(node["place"])
    if kind not in ("feature", "error"):
        return -1
    name = f"blocks.{layer}.mlp.norm/transcoder" if kind == "feature" else f"blocks.{layer}.mlp.out"
    if name not in places:
        places.append(name)
    return places.index(name)


def _whole(value: Any) -> int:
    if value is None:
        return -1
    if isinstance(value, bool) or not re.fullmatch(r"-?\d{1,18}", str(value)):
        raise FormatError(f"a whole number was expected, got {str(value)[:30]!r}")
    return int(value)


def _finite(value: Any, default: float | None = None) -> float:
    if value is None and default is not None:
        return default
    number = float(value)
    if isinstance(value, str) or not math.isfinite(number):
        raise FormatError(f"a finite number was expected, got {str(value)[:30]!r}")
    return number

"""Attribution graphs in files: our own (safetensors + JSON), and GraphML for network tools."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from microtome import io
from microtome.errors import FormatError, IntegrityError, ShapeError
from microtome.trace.attribution_graph import INTEGERS, KINDS, AttributionGraph

FORMAT = ("microtome.attribution_graph", 1)
ENDS = ("source", "target")
NUMBERS = ("value", "start", "weight", "rest", "mass", "effect")


def save(graph: AttributionGraph, folder: str | Path) -> None:
    """Write ``graph.safetensors`` and ``graph.json``."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {k: getattr(graph, k).detach().cpu().contiguous() for k in (*INTEGERS, *ENDS, *NUMBERS, "expanded")}
    io.write_tensors(folder / "graph.safetensors", tensors)
    io.write_json(folder / "graph.json", {
        "format": FORMAT[0], "version": FORMAT[1], "hash": io.hash_tensors(tensors), "tokens": list(graph.tokens),
        "places": list(graph.places), "words": {str(k): v for k, v in graph.words.items()}, "about": dict(graph.about),
    })  # fmt: skip


def load(folder: str | Path) -> AttributionGraph:
    """Read what `save` wrote.

    Raises
    ------
    FormatError
        When the folder holds no graph, or a damaged one.
    IntegrityError
        When the numbers no longer match the hash written beside them.
    """
    folder = Path(folder)
    about: Any = io.read_json(folder / "graph.json")
    if not isinstance(about, dict) or (about.get("format"), about.get("version")) != FORMAT:
        raise FormatError(f"'{folder}' holds no attribution graph of version {FORMAT[1]}.")
    tensors = io.read_tensors(folder / "graph.safetensors")
    if io.hash_tensors(tensors) != about.get("hash"):
        raise IntegrityError(f"the numbers in '{folder}' no longer match the hash in graph.json; make the graph again.")
    try:
        for name in (*INTEGERS, *ENDS):
            if tensors[name].dtype != torch.long:
                raise TypeError(f"{name} must hold whole numbers")
        for name in NUMBERS:
            if not bool(torch.isfinite(tensors[name]).all()):
                raise TypeError(f"{name} must be finite")
        words = {int(k): _text(v) for k, v in about["words"].items()}
        notes = {str(k): _text(v) for k, v in about["about"].items()}
        listed = {k: tuple(_text(t) for t in about[k]) for k in ("tokens", "places")}
        return AttributionGraph(**tensors, **listed, words=words, about=notes)  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError, AttributeError, ShapeError) as error:
        raise FormatError(f"'{folder}' is a damaged attribution graph: {error}.") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text was expected, not {type(value).__name__}")
    return value


def to_networkx(graph: AttributionGraph) -> Any:
    """A `networkx.DiGraph` with kind, layer, position, value, effect and influence of nodes, and weight of edges."""
    import networkx as nx

    out, influence = nx.DiGraph(), graph.influence().tolist()
    for i in range(len(graph)):
        out.add_node(
            i, label=io.visible(graph.label(i)), kind=KINDS[int(graph.kind[i])], layer=int(graph.layer[i]),
            position=int(graph.position[i]), value=float(graph.value[i]), effect=float(graph.effect[i]),
            influence=float(influence[i]),
        )  # fmt: skip
    ends = zip(graph.source.tolist(), graph.target.tolist(), graph.weight.tolist())
    out.add_weighted_edges_from(ends)
    return out


def write_graphml(graph: AttributionGraph, path: str | Path) -> None:
    """Write GraphML, which Gephi, Cytoscape and networkx read; characters that XML forbids are shown as numbers."""
    import networkx as nx

    io.write_text(path, "\n".join(nx.generate_graphml(to_networkx(graph))) + "\n")


def empty(nodes: int) -> dict[str, Tensor]:
    """Columns of a graph of `nodes` nodes without anything known of them."""
    whole = {k: torch.full((nodes,), -1) for k in INTEGERS}
    whole["kind"] = torch.zeros(nodes, dtype=torch.long)
    numbers = {k: torch.zeros(nodes) for k in ("value", "start", "rest", "mass", "effect")}
    return whole | numbers | {"expanded": torch.zeros(nodes, dtype=torch.bool)}

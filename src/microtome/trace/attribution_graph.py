"""AttributionGraph: what each coordinate, error, bias and token of one prompt brings to each other and to the output."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from microtome.errors import ShapeError, UsageError
from microtome.subject.unit import Unit
from microtome.trace import graph_maths

if TYPE_CHECKING:
    import pandas as pd

#: token: the stream before the first block at a position. bias: all constants of a block (`position` -1). error: what the
#: bases leave unexplained at a site. feature: a coordinate of a basis. head: what one head moves from position `key`.
#: logit: a direction of the logits.
KINDS = ("token", "bias", "error", "feature", "head", "logit")
INTEGERS = ("kind", "place", "layer", "position", "index", "key")


@dataclass(frozen=True, eq=False)
class AttributionGraph:
    """Nodes and signed edges of one prompt; in a frozen network what a node receives adds up to its value.

    Attributes
    ----------
    kind : LongTensor[nodes]
        Index into `KINDS`.
    place : LongTensor[nodes]
        Index into `places`, the sites (with the name of the basis) that nodes stand at; -1 for none.
    layer, position, index, key : LongTensor[nodes]
        Block (-1 before, the number of blocks after); position (-1: of no position, or summed over them); coordinate, head or
        token id; key position of heads (else -1).
    value : Tensor[nodes]
        Activation of a coordinate, value of a logit direction, 1 for what is not a number (token, error, bias).
    start : Tensor[nodes]
        Weight of the nodes to be explained (probabilities of the logits), 0 for others.
    source, target : LongTensor[edges]
    weight : Tensor[edges]
        What the source brings to the target, in units of the target's value.
    expanded : BoolTensor[nodes]
        Whether what the node receives is known.
    rest, mass : Tensor[nodes]
        Sum of contributions from sources that are no nodes or edges; sum of |contributions| in all.
    effect : Tensor[nodes]
        What the node brings to what is explained along all paths, signed: activation x derivative.
    tokens : tuple of str
    places : tuple of str
    words : dict of int to str
        Text of single nodes (logits: the token).
    about : dict of str to str
        subject (fingerprint), how it was made.
    """

    kind: Tensor
    place: Tensor
    layer: Tensor
    position: Tensor
    index: Tensor
    key: Tensor
    value: Tensor
    start: Tensor
    source: Tensor
    target: Tensor
    weight: Tensor
    expanded: Tensor
    rest: Tensor
    mass: Tensor
    effect: Tensor
    tokens: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    words: Mapping[int, str] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, m = len(self.kind), len(self.source)
        for name in (*INTEGERS, "value", "start", "expanded", "rest", "mass", "effect"):
            if getattr(self, name).shape != (n,):
                raise ShapeError(f"{name} of a graph of {n} nodes must be [{n}], got {list(getattr(self, name).shape)}.")
        if self.target.shape != (m,) or self.weight.shape != (m,):
            raise ShapeError(f"a graph of {m} edges needs source, target and weight [{m}].")
        for name, size in (("source", n), ("target", n)):
            ends = getattr(self, name)
            if m and not 0 <= int(ends.min()) <= int(ends.max()) < size:
                raise ShapeError(f"an edge names a node that is not there: {name} must lie in 0..{size - 1}.")
        if n and (
            int(self.place.max()) >= len(self.places) or not 0 <= int(self.kind.min()) <= int(self.kind.max()) < len(KINDS)
        ):
            raise ShapeError("a node names a kind or a place that is not there.")

    def __len__(self) -> int:
        return len(self.kind)

    def of_kind(self, kind: str) -> Tensor:
        """Numbers of the nodes of one kind."""
        if kind not in KINDS:
            raise UsageError(f"nodes are of kind {KINDS}, got {kind!r}.")
        return (self.kind == KINDS.index(kind)).nonzero()[:, 0]

    def incoming(self, node: int) -> Tensor:
        """Numbers of the edges into a node, largest |weight| first."""
        edges = (self.target == node).nonzero()[:, 0]
        return edges[self.weight[edges].abs().argsort(descending=True, stable=True)]

    def received(self) -> Tensor:
        """Sum of everything each node receives, `rest` included [nodes]; the value of the node where it is exact."""
        return self.rest + torch.zeros_like(self.rest).index_add_(0, self.target, self.weight.to(self.rest))

    def influence(self) -> Tensor:
        """How much of the explained nodes' value passes through each node (see `graph_maths`)."""
        share = graph_maths.normalised(self.target, self.weight, self.mass)
        return graph_maths.influence(self.source, self.target, share, self.start.to(share))

    def prune(self, *, nodes: float = 0.8, edges: float = 0.98) -> "AttributionGraph":
        """The part that carries cumulative shares of the influence (Ameisen et al. 2025: 0.8 and 0.98)."""
        keep = (self.kind == KINDS.index("token")) | (self.start > 0)
        kept = graph_maths.prune(
            self.source, self.target, self.weight, start=self.start.to(self.weight), mass=self.mass.to(self.weight),
            keep=keep, nodes=nodes, edges=edges,
        )  # fmt: skip
        return self.part(kept.nodes, kept.edges)

    def part(self, nodes: Tensor, edges: Tensor | None = None) -> "AttributionGraph":
        """The graph of some nodes (bool) and the kept edges between them; what is left out goes to `rest`."""
        inside = nodes[self.source] & nodes[self.target]
        inside = inside if edges is None else inside & edges
        number = nodes.long().cumsum(0) - 1
        lost = torch.zeros_like(self.rest).index_add_(0, self.target[~inside], self.weight[~inside].to(self.rest))
        chosen = {k: getattr(self, k)[nodes] for k in (*INTEGERS, "value", "start", "expanded", "mass", "effect")}
        words = {int(number[i]): t for i, t in self.words.items() if nodes[i]}
        return replace(
            self, **chosen, rest=(self.rest + lost)[nodes], source=number[self.source[inside]],
            target=number[self.target[inside]], weight=self.weight[inside], words=words,
        )  # fmt: skip

    def unit(self, node: int) -> Unit | None:
        """The unit that a feature node shows; None for other nodes."""
        if KINDS[int(self.kind[node])] != "feature":
            return None
        site, _, basis = self.places[int(self.place[node])].partition("/")
        return Unit(site, basis, int(self.index[node]))

    def label(self, node: int) -> str:
        """How a node is printed, e.g. ``blocks.3.mlp.norm/transcoder[584]@5``."""
        kind, at = KINDS[int(self.kind[node])], int(self.position[node])
        where = f"@{at}" if at >= 0 else ""
        place = self.places[int(self.place[node])] if int(self.place[node]) >= 0 else ""
        if kind == "feature":
            return f"{self.unit(node)}{where}"
        if kind == "head":
            return f"a{int(self.layer[node])}.h{int(self.index[node])}{where}<-{int(self.key[node])}"
        if kind == "bias":
            return f"bias {int(self.layer[node])}"
        word = self.words.get(node, self.tokens[at] if kind == "token" and 0 <= at < len(self.tokens) else place)
        return f"{kind} {word}{where}"

    def table(self) -> "pd.DataFrame":
        """One row per node, largest influence first: node, kind, layer, position, index, value, effect, influence, rest."""
        import pandas as pd

        frame = pd.DataFrame({
            "node": [self.label(i) for i in range(len(self))], "kind": [KINDS[k] for k in self.kind.tolist()],
            "layer": self.layer.numpy(), "position": self.position.numpy(), "index": self.index.numpy(),
            "value": self.value.numpy(), "effect": self.effect.numpy(),
            "influence": self.influence().numpy(), "rest": self.rest.numpy(),
        })  # fmt: skip
        return frame.sort_values("influence", ascending=False, kind="stable")

    def edges_table(self) -> "pd.DataFrame":
        """One row per edge, largest |weight| first: source, target, weight."""
        import pandas as pd

        order = self.weight.abs().argsort(descending=True, stable=True)
        names = [self.label(i) for i in range(len(self))]
        return pd.DataFrame({
            "source": [names[i] for i in self.source[order].tolist()],
            "target": [names[i] for i in self.target[order].tolist()], "weight": self.weight[order].numpy(),
        })  # fmt: skip

    def save(self, folder: str | Path) -> None:
        """Write ``graph.safetensors`` and ``graph.json``; `load` reads them."""
        from microtome.trace.graph_files import save

        save(self, folder)

    @classmethod
    def load(cls, folder: str | Path) -> "AttributionGraph":
        """Read what `save` wrote."""
        from microtome.trace.graph_files import load

        return load(folder)

    def graphml(self, path: str | Path) -> None:
        """Write GraphML, for Gephi, Cytoscape or networkx."""
        from microtome.trace.graph_files import write_graphml

        write_graphml(self, path)

    def page(self, title: str = "attribution graph", *, units: str = "") -> str:
        """The graph as one self-contained interactive HTML page (see `trace.view.page`)."""
        from microtome.trace.view import page

        return page(self, title, units=units)

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(self.of_kind(k))} {k}" for k in KINDS if len(self.of_kind(k)))
        return f"AttributionGraph({len(self)} nodes ({counts}), {len(self.source)} edges)"

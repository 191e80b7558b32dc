"""Transcoder circuits: a greedy search for the paths that bring a target its value, head by head."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from microtome.errors import UsageError
from microtome.method import Paper, method
from microtome.subject.unit import Unit
from microtome.trace.attribution_graph import KINDS, AttributionGraph
from microtome.trace.build_graph import one_prompt, tokens_of
from microtome.trace.frozen import frozen
from microtome.trace.graph_targets import block_of, feature_seeds, logit_targets, unit_target
from microtome.trace.rows import Seeds, Sources
from microtome.trace.stations import stations

if TYPE_CHECKING:
    from microtome.subject.basis import Basis

MEMORY = 256 * 2**20


@method(
    question="trace",
    paper=Paper("Dunefsky, Chlenski, Nanda", 2024, "Transcoders Find Interpretable LLM Feature Circuits",
                "https://arxiv.org/abs/2406.11944"),
    needs=("subject", "tokens", "basis", "gradients"),
    gives="AttributionGraph",
    stochastic=False,
    cost="one forward; breadth vector-Jacobian products per step",
    claim="Transcoders recover as much of the loss as autoencoders, and what they bring to each other adds up exactly; the "
          "largest contributions are causes.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="Why a head looks where it looks: patterns are held.",
    tiny={"breadth": 4, "depth": 3},
)  # fmt: skip
def transcoder_circuits(
    subject: Any,
    inputs: Any,
    bases: "Iterable[Basis]",
    *,
    target: "str | int | tuple[str | int, str | int] | Unit | None" = None,
    position: int = -1,
    breadth: int = 10,
    depth: int = 4,
) -> AttributionGraph:
    """Follow a target's value back through transcoder features and single heads, the largest contributions first.

    A feature j at the same token brings ``z_j (W_dec[j] . W_enc[i])``, a head h from token s brings
    ``A_h[t, s] (W_OV^h' W_enc[i]) . x_s``; the head's vector is then followed further. Norm scales are held.

    Parameters
    ----------
    subject : Subject
    inputs : str, token ids or Inputs of one row
    bases : iterable of Basis
        One transcoder per MLP, e.g. from ``mt.decompose.transcoder``. Other bases do too.
    target : optional
        A `Unit` of a transcoder at `position`, a token, or a pair of tokens; None = the most probable next token.
    position : int, default -1
        Of a `Unit`.
    breadth : int, default 10
        Contributions that are followed per step. Paper: 5 to 15.
    depth : int, default 4
        Steps.

    Returns
    -------
    AttributionGraph
        Of flows: weights and values are in units of the target, and what enters a node (with `rest`) is what leaves it.
        Signed: negative contributions are kept.

    Raises
    ------
    UsageError, ShapeError, SiteError, SubjectMismatch
        When breadth or depth is below 1, a basis does not fit, the prompt is not one row, or the target is not there.

    Notes
    -----
    Null: with random transcoders the errors bring most of the value.
    Misleads when attention decides: what moves a pattern is invisible. Contributions that cancel are both kept.

    Examples
    --------
    >>> import microtome as mt
    >>> subject = mt.load("organism:compiled-ioi")
    >>> basis = mt.subject.basis.Identity("blocks.0.attn.out", subject.facts.d_model)
    >>> task = subject.organism.examples(1)
    >>> graph = transcoder_circuits(subject, task.clean, [basis], depth=2)
    >>> bool((graph.received() - graph.value)[graph.expanded].abs().max() < 1e-3)
    True

    References
    ----------
    Dunefsky, Chlenski, Nanda (2024). Transcoders Find Interpretable LLM Feature Circuits. https://arxiv.org/abs/2406.11944
    """
    if breadth < 1 or depth < 1:
        raise UsageError(f"breadth and depth must be at least 1, got {breadth} and {depth}.")
    prompt = one_prompt(subject, inputs)
    net = frozen(subject, prompt, stations(subject, bases), heads=True)
    explained = unit_target(net, target, position) if isinstance(target, Unit) else logit_targets(subject, net, target)
    search = _Search(Sources(net))
    seed = explained.seeds[0].part(slice(0, 1))
    frontier = [_Followed(search.sources.size, seed, float(explained.constant[0]), int(explained.block[0]))]
    for _ in range(depth):
        if not frontier:
            break
        frontier = search.next(search.follow(frontier), breadth)
    kind = KINDS.index("feature" if isinstance(target, Unit) else "logit")
    about = {"subject": subject.fingerprint(), "made": "transcoder_circuits: flows along the largest paths"}
    return search.graph(subject, prompt, float(explained.value[0]), explained, kind, about)


@dataclass(eq=False)
class _Followed:
    """A node whose contributions are asked for, in units of the target."""

    node: int
    seed: Seeds
    constant: float
    block: int


@dataclass(eq=False)
class _Search:
    """What was found so far: flows between sources (numbered as in `Sources`; the target is one past them)."""

    sources: Sources
    flow: dict[tuple[int, int], float] = field(default_factory=dict)
    known: dict[int, Tensor] = field(default_factory=dict)
    gradients: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    def follow(self, frontier: list[_Followed]) -> Tensor:
        """Contributions [frontier, sources] of all sources to each followed node."""
        rows = []
        for followed in frontier:
            row, self.gradients[followed.node] = self.sources.row(followed.seed)
            row[self.sources.spans["bias", ""].start + followed.block] += followed.constant
            before = self.known.get(followed.node)
            self.known[followed.node] = row if before is None else before + row
            rows.append(row)
        self.frontier = [f.node for f in frontier]
        return torch.stack(rows)

    def next(self, found: Tensor, breadth: int) -> list[_Followed]:
        """The contributions with the largest size, as nodes to be followed; those of one node are added up."""
        order = found.abs().flatten().argsort(descending=True, stable=True)[:breadth]
        chosen: dict[int, list[int]] = {}
        for flat_index in order.tolist():
            row, source = divmod(flat_index, found.shape[1])
            if found[row, source] != 0:
                chosen.setdefault(source, []).append(row)
                edge = (source, self.frontier[row])
                self.flow[edge] = self.flow.get(edge, 0.0) + float(found[row, source])
        made = (self._followed(source, rows, found) for source, rows in chosen.items())
        return [f for f in made if f is not None]

    def _followed(self, source: int, rows: list[int], found: Tensor) -> _Followed | None:
        net = self.sources.net
        (kind, site), span = next((k, s) for k, s in self.sources.spans.items() if source in s)
        amount = float(found[rows, source].sum())
        if kind == "feature":
            station = next(s for s in net.stations if s.reads == site)
            chosen = torch.tensor([source - span.start])
            seed, constant, block = feature_seeds(net, station, chosen)
            share = amount / float(net.codes[site].value[chosen[0]])
            return _Followed(source, Seeds(site, seed.position, seed.vector * share), float(constant[0]) * share, block)
        if kind == "head":
            query, head, key = _unravel(source - span.start, net.patterns[site].shape)
            gradient = torch.stack([self.gradients[self.frontier[r]][site][0, query, head] for r in rows]).sum(0)
            value = net.values[site]
            vector = torch.zeros_like(value[0])
            vector[head * value.shape[1] // net.patterns[site].shape[0]] = gradient * net.patterns[site][head, query, key]
            seed = Seeds(site.replace("attn.z", "attn.v"), torch.tensor([key]), vector.flatten()[None])
            return _Followed(source, seed, 0.0, block_of(net, site))
        return None

    def graph(self, subject: Any, prompt: Any, value: float, explained: Any, kind: int, about: dict[str, str]):
        """The flows as a graph: followed nodes, and all they were followed from."""
        size = self.sources.size
        order = sorted({n for edge in self.flow for n in edge} | {size})
        number = {n: i for i, n in enumerate(order)}
        columns, places = self._columns(order, subject, prompt)
        out: dict[int, float] = {}
        for (source, _), weight in self.flow.items():
            out[source] = out.get(source, 0.0) + weight
        expanded = torch.tensor([n in self.known for n in order])
        whole = torch.tensor([float(self.known[n].double().sum()) if n in self.known else 0.0 for n in order])
        values = torch.tensor([value if n == size else float(whole[i]) if expanded[i] else out.get(n, 0.0)
                               for i, n in enumerate(order)])  # fmt: skip
        columns["kind"][-1], columns["place"][-1] = kind, columns["place"][-1]
        columns["index"][-1], columns["position"][-1] = explained.index[0], explained.position[0]
        columns["layer"][-1] = explained.layer[0]
        if KINDS[kind] == "feature":
            name = next(s.name for s in self.sources.net.stations if s.reads == explained.seeds[0].site)
            places = places if name in places else [*places, name]
            columns["place"][-1] = places.index(name)
        edges = list(self.flow)
        source, target = (torch.tensor([number[e[i]] for e in edges], dtype=torch.long) for i in (0, 1))
        weight = torch.tensor([self.flow[e] for e in edges])
        mass = torch.tensor([float(self.known[n].abs().sum()) if n in self.known else 0.0 for n in order])
        rest = whole - torch.zeros(len(order)).index_add_(0, target, weight)
        start = torch.zeros(len(order))
        start[-1] = 1.0
        words = {} if KINDS[kind] == "feature" else {len(order) - 1: explained.words[0]}
        return AttributionGraph(
            **columns, value=values, start=start, source=source, target=target, weight=weight, expanded=expanded, rest=rest,
            mass=mass, effect=torch.tensor([out.get(n, value) for n in order]), tokens=tokens_of(subject, prompt),
            places=tuple(places), words=words, about=about,
        )  # fmt: skip

    def _columns(self, order: list[int], subject: Any, prompt: Any) -> tuple[dict[str, Tensor], list[str]]:
        columns = {k: torch.full((len(order),), -1) for k in ("kind", "place", "layer", "position", "index", "key")}
        net, places = self.sources.net, []
        for i, node in enumerate(order[:-1]):
            (kind, site), span = next((k, s) for k, s in self.sources.spans.items() if node in s)
            at = node - span.start
            columns["kind"][i] = KINDS.index(kind)
            if kind == "bias":
                columns["layer"][i] = at
                continue
            columns["position"][i] = at
            if kind == "token":
                columns["index"][i] = prompt.main[0, at] if prompt.ids is not None else -1
                continue
            name = next(s.name for s in net.stations if s.reads == site) if kind == "feature" else site
            if name not in places:
                places.append(name)
            columns["place"][i], columns["layer"][i] = places.index(name), block_of(net, site)
            if kind == "feature":
                columns["position"][i], columns["index"][i] = net.codes[site].position[at], net.codes[site].index[at]
            elif kind == "head":
                columns["position"][i], columns["index"][i], columns["key"][i] = _unravel(at, net.patterns[site].shape)
        columns["kind"][-1] = KINDS.index("logit")
        return columns, places


def _unravel(at: int, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Query, head and key of a source, of a pattern [head, query, key]."""
    heads, _, keys = shape
    return at // (heads * keys), at // keys % heads, at % keys

"""The engine of attribution graphs: one forward, then the rows of the nodes that matter, most influential first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from microtome.errors import BudgetExceeded, ShapeError, UsageError
from microtome.subject.inputs import Inputs
from microtome.subject.unit import Unit
from microtome.trace import graph_maths
from microtome.trace.attribution_graph import KINDS, AttributionGraph
from microtome.trace.frozen import Frozen, frozen
from microtome.trace.graph_targets import Explained, feature_seeds, logit_targets, unit_target
from microtome.trace.rows import Seeds, Sources
from microtome.trace.stations import stations

if TYPE_CHECKING:
    from microtome.subject.basis import Basis

#: In how many rounds the nodes are chosen, most influential first.
ROUNDS = 4


def attribution_graph(
    subject: Any,
    prompt: Any,
    bases: "Iterable[Basis]",
    *,
    target: "str | int | tuple[str | int, str | int] | Unit | None" = None,
    position: int = -1,
    nodes: int = 500,
    edges: int = 0,
    memory: int = 256 * 2**20,
) -> AttributionGraph:
    """What each coordinate, error, bias and token brings to each other and to the output, attention, norms and gates held.

    ``A[t, s] = a_s W_dec[s] . J . W_enc[t]`` with J the Jacobian of the network between the bases, its attention patterns, norm
    scales and gates held at this prompt's values. One forward; rows are batched vector-Jacobian products of it.

    Parameters
    ----------
    subject : Subject
    prompt : str, token ids [length] or Inputs of one row
    bases : iterable of Basis
        Dictionaries, transcoders or cross-layer transcoders. MLPs whose output no basis writes keep their gates.
    target : optional
        What is explained: None = the most probable next tokens (0.95 of the probability, at most 10), each against the mean
        logit; a token (text or id); a pair of tokens (their logit difference); or a `Unit` of a basis, at `position`.
    position : int, default -1
        Of a `Unit`.
    nodes : int, default 500
        Coordinates that become nodes; what all others bring is summed in `rest`.
    edges : int, default 0
        Largest contributions kept per node, the others summed in `rest`; 0 = all.
    memory : int
        Bytes that gradients and rows may take at a time.

    Returns
    -------
    AttributionGraph
        ``graph.received()`` equals each expanded node's value.

    Raises
    ------
    UsageError, ShapeError, SiteError, SubjectMismatch
        When a basis does not fit, the prompt is not one row, or the target is not there.
    BudgetExceeded
        When the rows that must be kept do not fit `memory`; keep fewer nodes or edges.

    Notes
    -----
    Null: random dictionaries give a graph too, whose errors carry the influence: read `influence` by kind.
    Misleads when the behaviour lies in where attention looks: patterns are held, so queries and keys are invisible.

    References
    ----------
    Ameisen et al. (2025). Circuit Tracing: Revealing Computational Graphs in Language Models.
    https://transformer-circuits.pub/2025/attribution-graphs/methods.html
    """
    if nodes < 1 or edges < 0:
        raise UsageError(f"nodes must be at least 1 and edges at least 0, got {nodes} and {edges}.")
    inputs = one_prompt(subject, prompt)
    net = frozen(subject, inputs, stations(subject, bases))
    explained = unit_target(net, target, position) if isinstance(target, Unit) else logit_targets(subject, net, target)
    grown = Growing(net, explained, edges, memory, nodes)
    grown.grow(nodes)
    return grown.shown(grown.graph(subject, inputs))


def one_prompt(subject: Any, prompt: Any) -> Inputs:
    """One prompt as inputs."""
    if isinstance(prompt, str):
        prompt = [prompt]
    elif isinstance(prompt, Tensor) and prompt.ndim == 1:
        prompt = prompt[None]
    inputs = subject.inputs(prompt)
    if len(inputs) != 1:
        raise ShapeError(f"an attribution graph is of one prompt, got {len(inputs)}.")
    return inputs


@dataclass(eq=False)
class _Rows:
    """Sparse rows: what the kept sources bring, by target."""

    target: list[Tensor]
    source: list[Tensor]
    weight: list[Tensor]


class Growing:
    """A graph while it is built: sources are numbered as in `Sources`, explained targets follow them."""

    def __init__(self, net: Frozen, explained: Explained, edges: int, memory: int, nodes: int, blank: bool = False) -> None:
        self.net, self.explained, self.memory = net, explained, memory
        self.sources = Sources(net)
        self.keep = min(edges or self.sources.size, self.sources.size)
        wanted = 12 * self.keep * (min(nodes, self._features()) + len(explained))
        if wanted > 8 * memory:
            raise BudgetExceeded(
                f"{nodes} nodes with {self.keep} edges each take {wanted / 2**20:.0f} MiB, more than eight times memory= "
                f"({memory / 2**20:.0f} MiB). Keep fewer nodes, or edges=1000 per node, or allow more memory."
            )
        self.total = self.sources.size + len(explained)
        none = torch.zeros(0, dtype=torch.long)
        self.rows = _Rows([none], [none], [torch.zeros(0)])
        self.mass, self.rest = torch.zeros(self.total), torch.zeros(self.total)
        self.expanded = torch.zeros(self.total, dtype=torch.bool)
        self.start = torch.zeros(self.total)
        self.start[self.sources.size :] = explained.share
        self.is_feature = torch.zeros(self.total, dtype=torch.bool)
        for (kind, _), span in self.sources.spans.items():
            self.is_feature[span.start : span.stop] = kind == "feature"
        numbers = torch.arange(len(explained)) + self.sources.size
        if not blank:
            self._expand(explained.seeds, numbers, explained.constant, explained.block)

    def _features(self) -> int:
        return sum(len(c) for c in self.net.codes.values())

    def grow(self, nodes: int) -> None:
        """Expand the most influential coordinates, in rounds."""
        left = min(nodes, self._features())
        size = left if left == self._features() else -(-left // ROUNDS)
        while left > 0:
            score = self._influence()
            free = self.is_feature & ~self.expanded & (score > 0)
            chosen = torch.where(free, score, -1.0).topk(min(size, left, int(free.sum()))).indices
            if not len(chosen):
                return
            left -= len(chosen)
            self.expand_features(chosen.sort().values)

    def _influence(self) -> Tensor:
        source, target, weight = (torch.cat(p) for p in (self.rows.source, self.rows.target, self.rows.weight))
        share = graph_maths.normalised(target, weight, self.mass)
        return graph_maths.influence(source, target, share, self.start)

    def expand_features(self, chosen: Tensor) -> None:
        for station in self.net.stations:
            span = self.sources.spans["feature", station.reads]
            own = chosen[(chosen >= span.start) & (chosen < span.stop)]
            if len(own):
                seeds, constant, block = feature_seeds(self.net, station, own - span.start)
                self._expand([seeds], own, constant, torch.full((len(own),), block))

    def _expand(self, seeds: Sequence[Seeds], numbers: Tensor, constant: Tensor, block: Tensor) -> None:
        """Rows of some targets, kept sparse; a target's own constant counts among the biases of its block."""
        bias = self.sources.spans["bias", ""].start
        for first, rows in self.sources.rows(seeds, self.memory):
            part = slice(first, first + len(rows))
            rows[torch.arange(len(rows)), bias + block[part]] += constant[part]
            self.mass[numbers[part]] = rows.abs().sum(1)
            if self.keep < self.sources.size:
                place = rows.abs().topk(self.keep, dim=1).indices
                weight = rows.gather(1, place)
            else:
                weight, place = rows, torch.arange(self.sources.size).expand_as(rows)
            self.rest[numbers[part]] = (rows.double().sum(1) - weight.double().sum(1)).float()
            real = weight != 0
            self.rows.target.append(numbers[part][:, None].expand_as(place)[real])
            self.rows.source.append(place[real])
            self.rows.weight.append(weight[real])
        self.expanded[numbers] = True

    def graph(self, subject: Any, inputs: Inputs) -> AttributionGraph:
        """The nodes that were expanded, and all tokens, errors and biases."""
        net, size = self.net, self.sources.size
        columns = {k: torch.full((self.total,), -1) for k in ("place", "layer", "position", "index", "key")}
        kind, value = torch.zeros(self.total, dtype=torch.long), torch.ones(self.total)
        places: list[str] = []
        for (name, site), span in self.sources.spans.items():
            here = slice(span.start, span.stop)
            kind[here] = KINDS.index(name)
            if name == "bias":
                columns["layer"][here] = torch.arange(len(span))
                continue
            columns["position"][here] = torch.arange(len(span))
            if name == "token":
                columns["index"][here] = inputs.main[0].cpu() if inputs.ids is not None else -1
                continue
            block = subject.site(site).block
            columns["layer"][here] = len(net.one) - 1 if block is None else block
            columns["place"][here] = len(places)
            if name == "feature":
                station, codes = next(s for s in net.stations if s.reads == site), net.codes[site]
                places.append(station.name)
                columns["position"][here], columns["index"][here] = codes.position, codes.index
                value[here] = codes.value.float()
            else:
                places.append(site)
        e = self.explained
        columns["index"][size:], columns["position"][size:], columns["layer"][size:] = e.index, e.position, e.layer
        kind[size:], value[size:] = KINDS.index("logit"), e.value
        source, target, weight = (torch.cat(p) for p in (self.rows.source, self.rows.target, self.rows.weight))
        part = weight / torch.where(value[target] == 0, 1.0, value[target])
        effect = graph_maths.influence(source, target, part, self.start * value) + self.start * value
        words = {size + i: word for i, word in enumerate(e.words)}
        whole = AttributionGraph(
            kind, columns["place"], columns["layer"], columns["position"], columns["index"], columns["key"], value, self.start,
            source, target, weight, self.expanded, self.rest, self.mass, effect, tokens_of(subject, inputs),
            tuple(places), words,
            {"subject": subject.fingerprint(), "made": "attribution_graph: attention patterns, norm scales and gates held"},
        )  # fmt: skip
        return whole

    def shown(self, whole: AttributionGraph) -> AttributionGraph:
        """Without the coordinates that were not expanded."""
        return whole.part(self.expanded | (whole.kind != KINDS.index("feature")))


def tokens_of(subject: Any, inputs: Inputs) -> tuple[str, ...]:
    """The prompt's tokens as text; ids where there is no tokenizer."""
    if inputs.ids is None:
        return tuple(str(i) for i in range(inputs.main.shape[1]))
    ids = inputs.ids[0].tolist()
    return tuple(str(i) if subject.tokenizer is None else subject.tokenizer.decode([i]) for i in ids)

"""Learned membership: attention over graphs that were solved says which nodes of a new one belong to its circuit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from microtome.errors import ShapeError, UsageError
from microtome.rng import torch_rng
from microtome.trace.attribution_graph import AttributionGraph

#: value, |effect|, influence, sums and numbers of edges in and out, depth.
FEATURES = 8
#: Attention heads: the first half reads where a node gets from, the second where it gives to.
HEADS = 4
ROUNDS = 2


@dataclass(frozen=True, eq=False)
class GraphScorer:
    """``scorer(graph)``: each node's logit of belonging to the circuit [nodes]. Made by `graph_scorer`."""

    weights: Mapping[str, Tensor]

    def __call__(self, graph: AttributionGraph) -> Tensor:
        return judged(self.weights, node_features(graph), log_sizes(graph))


def node_features(graph: AttributionGraph) -> Tensor:
    """What is known of each node [nodes, FEATURES], as ranks within the graph in [-1, 1], so that units play no part."""
    zero, size = torch.zeros(len(graph)), graph.weight.abs().float()
    columns = [graph.value.float(), graph.effect.float().abs(), graph.influence().float()]
    columns += [zero.index_add(0, ends, x) for ends in (graph.target, graph.source) for x in (size, torch.ones_like(size))]
    columns.append(graph.layer.float())
    return torch.stack([_ranks(c) for c in columns], dim=1)


def log_sizes(graph: AttributionGraph) -> Tensor:
    """log(|weight| / median) of the edge from each source into each target [target, source]; -inf for none."""
    sizes = torch.zeros(len(graph), len(graph))
    sizes.index_put_((graph.target, graph.source), graph.weight.abs().float(), accumulate=True)
    middle = sizes[sizes > 0].median() if bool((sizes > 0).any()) else torch.ones(())
    return (sizes / middle).log()


def judged(weights: Mapping[str, Tensor], features: Tensor, into: Tensor) -> Tensor:
    """Logits [nodes]: each round a node adds what attention brings it from its neighbours either way.

    ``h += W [sum_j softmax_j(q_h(i) + k_h(j) + c_h log|w_ij|) h_j]_h``, scaled to unit variance.
    """
    h = (features @ weights["enter"] + weights["enter_bias"]).relu()
    edges = torch.stack([into, into.T]).repeat_interleave(HEADS // 2, dim=0)  # [head, node, neighbour]
    missing = edges == -torch.inf
    for r in range(ROUNDS):
        ask, answer = (h @ weights[f"{name}{r}"] for name in ("ask", "answer"))  # [node, head]
        logits = ask.T[:, :, None] + answer.T[:, None, :]
        logits = logits + weights[f"size{r}"][:, None, None] * edges.masked_fill(missing, 0.0)
        share = logits.masked_fill(missing, -1e9).softmax(-1) * ~missing.all(-1, keepdim=True)
        heard = (share @ h).movedim(0, 1).flatten(1)
        h = torch.nn.functional.layer_norm(h + heard @ weights[f"read{r}"], h.shape[1:])
    return h.relu() @ weights["leave"] + weights["leave_bias"]


def graph_scorer(
    graphs: Sequence[AttributionGraph], members: Sequence[Tensor], *, width: int = 16, steps: int = 300, lr: float = 1e-2,
    seed: int = 0,
) -> GraphScorer:  # fmt: skip
    """Train a scorer on graphs whose circuits are known.

    Parameters
    ----------
    graphs : sequence of AttributionGraph
    members : sequence of BoolTensor[nodes]
        Which nodes of each graph are in its circuit.
    width : int, default 16
    steps : int, default 300
        One graph each, in turn; cross-entropy with both classes weighed alike, Adam.
    lr : float, default 1e-2
    seed : int, default 0

    Returns
    -------
    GraphScorer

    Raises
    ------
    UsageError, ShapeError
        When there are no graphs, or members do not fit them or name none or all of a graph's nodes.
    """
    if not graphs or len(graphs) != len(members):
        raise UsageError(f"{len(graphs)} graphs and {len(members)} circuits: there must be as many, and at least one.")
    for graph, inside in zip(graphs, members):
        if inside.shape != (len(graph),):
            raise ShapeError(f"members of a graph of {len(graph)} nodes must be [{len(graph)}], got {list(inside.shape)}.")
        if not 0 < int(inside.sum()) < len(graph):
            raise UsageError("a circuit of none or of all of a graph's nodes teaches nothing.")
    weights = _start(width, seed)
    given = [(node_features(g), log_sizes(g), inside.float()) for g, inside in zip(graphs, members)]
    optimiser = torch.optim.Adam(weights.values(), lr=lr)
    for step in range(steps):
        features, into, inside = given[step % len(given)]
        optimiser.zero_grad(set_to_none=True)
        logits, rare = judged(weights, features, into), (len(inside) - inside.sum()) / inside.sum()
        torch.nn.functional.binary_cross_entropy_with_logits(logits, inside, pos_weight=rare).backward()
        optimiser.step()
    return GraphScorer({name: w.detach() for name, w in weights.items()})


def _start(width: int, seed: int) -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {"enter": (FEATURES, width), "leave": (width,)}
    for r in range(ROUNDS):
        shapes |= {f"ask{r}": (width, HEADS), f"answer{r}": (width, HEADS), f"read{r}": (HEADS * width, width)}
    generator = torch_rng(seed, "graph scorer")
    weights = {name: torch.randn(shape, generator=generator) / shape[0] ** 0.5 for name, shape in shapes.items()}
    weights |= {"enter_bias": torch.zeros(width), "leave_bias": torch.zeros(())}
    weights |= {f"size{r}": torch.ones(HEADS) for r in range(ROUNDS)}
    return {name: w.requires_grad_(True) for name, w in weights.items()}


def _ranks(x: Tensor) -> Tensor:
    """Mean rank in [-1, 1]; 0 where all are equal."""
    return (x[None, :] < x[:, None]).float().mean(1) - (x[None, :] > x[:, None]).float().mean(1)

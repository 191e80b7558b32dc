"""Influence and pruning of sparse signed graphs: pure functions of edge lists, no network inside.

Edges are three tensors: `source`, `target` (node numbers) and `weight` (what the source brings to the target). With
``A = |weight|``, each target's row divided by its mass, the influence of a node is ``start B`` with ``B = sum_k A^k``: how much
of the start's value comes through the node, along all paths.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from microtome.errors import Degenerate, UsageError

#: More rounds than this mean that the graph has a cycle.
DEEPEST = 10_000


class Kept(NamedTuple):
    """Which nodes and edges are left."""

    nodes: Tensor
    edges: Tensor


def normalised(target: Tensor, weight: Tensor, mass: Tensor) -> Tensor:
    """|weight| as a share of what its target receives; `mass` [nodes] is the sum of |contributions| of each target."""
    return weight.abs() / mass.clamp_min(torch.finfo(weight.dtype).tiny)[target]


def mass_of(nodes: int, target: Tensor, weight: Tensor) -> Tensor:
    """Sum of |weight| that each node receives."""
    return weight.new_zeros(nodes).index_add_(0, target, weight.abs())


def influence(source: Tensor, target: Tensor, share: Tensor, start: Tensor) -> Tensor:
    """``start (A + A^2 + ...)``: how much of the start each node passes on, start nodes themselves not counted.

    Parameters
    ----------
    source, target : LongTensor[edges]
    share : Tensor[edges]
        As `normalised` gives it; signed shares (contribution / value) give signed sums over paths.
    start : Tensor[nodes]
        Weight of each node to be explained, e.g. probabilities of the logits.

    Raises
    ------
    Degenerate
        When the graph has a cycle, so that the sum does not end.
    """
    total, wave = torch.zeros_like(start), start
    for _ in range(DEEPEST):
        wave = torch.zeros_like(start).index_add_(0, source, share * wave[target])
        if not bool(wave.any()):
            return total
        total = total + wave
        if float(wave.abs().max()) < 1e-30:
            return total
    raise Degenerate("the graph has a cycle, so influence has no end.")


def cumulative(scores: Tensor, share: float) -> Tensor:
    """bool: the fewest largest scores that together make `share` of the sum."""
    if not 0 < share <= 1:
        raise UsageError(f"a share must lie in (0, 1], got {share}.")
    order = scores.argsort(descending=True, stable=True)
    running = scores[order].cumsum(0)
    needed = int((running < share * running[-1] * (1 - 1e-7)).sum()) + 1 if len(scores) else 0
    kept = torch.zeros(len(scores), dtype=torch.bool)
    kept[order[:needed]] = True
    return kept & (scores > 0) if share < 1 else kept


def prune(
    source: Tensor, target: Tensor, weight: Tensor, *, start: Tensor, mass: Tensor, keep: Tensor, nodes: float, edges: float
) -> Kept:
    """Keep the nodes that carry `nodes` of the influence, then the edges that carry `edges` of what is left.

    Parameters
    ----------
    source, target, weight : Tensor[edges]
    start, mass : Tensor[nodes]
        See `influence` and `normalised`.
    keep : BoolTensor[nodes]
        Never pruned (tokens, logits).
    nodes, edges : float
        Cumulative shares, e.g. 0.8 and 0.98.

    Returns
    -------
    Kept
        Without nodes that nothing of the start reaches any more.
    """
    share = normalised(target, weight, mass)
    scores = influence(source, target, share, start)
    inside = cumulative(torch.where(keep, 0.0, scores), nodes) | keep | (start > 0)
    alive = inside[source] & inside[target]
    inner = torch.where(alive, weight, 0.0)
    share = normalised(target, inner, mass_of(len(start), target, inner))
    passed = influence(source, target, share, start) + start
    alive = alive & cumulative(share * passed[target], edges)
    return _connected(source, target, inside, alive, keep | (start > 0))


def _connected(source: Tensor, target: Tensor, inside: Tensor, alive: Tensor, keep: Tensor) -> Kept:
    """Drop nodes from which no kept edge leads on, again and again."""
    while True:
        leads = torch.zeros_like(inside)
        leads[source[alive]] = True
        stay = inside & (leads | keep)
        still = alive & stay[source] & stay[target]
        if bool((stay == inside).all()) and bool((still == alive).all()):
            return Kept(stay, still)
        inside, alive = stay, still

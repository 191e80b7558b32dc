"""Search a hierarchy of clusters for the nodes that matter, looking only into clusters that do."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from microtome.errors import NonFinite, UsageError
from microtome.trace.graph_levels import Cluster


@dataclass
class Searched:
    """What a search found.

    Attributes
    ----------
    lost : dict of int to float
        Nodes that were judged alone: what is lost without them.
    within : dict of int to float
        Every node: loss per node of the smallest cluster around it that was judged.
    judged : int
        Sets that were judged, clusters and single nodes.
    """

    lost: dict[int, float] = field(default_factory=dict)
    within: dict[int, float] = field(default_factory=dict)
    judged: int = 0

    def members(self, least: float) -> list[int]:
        """Nodes that were judged alone and cost at least so much, most costly first."""
        found = [i for i, v in self.lost.items() if v >= least]
        return sorted(found, key=lambda i: -self.lost[i])

    def ranking(self, scores: dict[int, float]) -> list[int]:
        """All nodes: by their own loss or that of their cluster per node, then by `scores`."""
        return sorted(self.within, key=lambda i: (-self.within[i], -scores[i], i))


def coarse_to_fine(
    root: Cluster, lost: Callable[[Sequence[Sequence[int]]], np.ndarray], *, budget: int, promise: float = 0.0
) -> Searched:
    """Judge the parts of the most promising cluster, again and again.

    A cluster's promise is what is lost without it, per node. The parts of the cluster with the largest one are judged next,
    all in one call, until `budget` sets have been judged or no open cluster promises more than `promise`.

    Parameters
    ----------
    root : Cluster
        From `graph_levels.levels`.
    lost : callable
        What is lost without each of several sets of nodes [sets].
    budget : int
        Sets that may be judged; the parts of one cluster are judged together or not at all.
    promise : float, default 0.0

    Returns
    -------
    Searched

    Raises
    ------
    UsageError
        When the budget does not allow even the parts of the root.
    NonFinite
        When a loss is not a number.

    Examples
    --------
    >>> pair = [Cluster((i, i + 1), (Cluster((i,)), Cluster((i + 1,)))) for i in (0, 2)]
    >>> root = Cluster((0, 1, 2, 3), tuple(pair))
    >>> found = coarse_to_fine(root, lambda sets: np.array([float(2 in s) for s in sets]), budget=4)
    >>> found.members(0.5), found.judged
    ([2], 4)
    """
    parts = root.parts or (root,)
    if budget < len(parts):
        raise UsageError(f"a budget of {budget} does not allow the {len(parts)} clusters of the coarsest level to be judged.")
    found, heap = Searched(), []
    while parts:
        values = np.asarray(lost([p.members for p in parts]), dtype=float)
        if not np.isfinite(values).all():
            raise NonFinite("what is lost without a set of nodes is not a number.")
        found.judged += len(parts)
        for part, value in zip(parts, values.tolist()):
            share = value / len(part.members)
            found.within.update(dict.fromkeys(part.members, share))
            if len(part.members) == 1:
                found.lost[part.members[0]] = value
            else:
                heapq.heappush(heap, (-share, part.members, part))
        parts = ()
        while heap and -heap[0][0] > promise:
            best = heapq.heappop(heap)[2]
            if found.judged + len(best.parts) <= budget:
                parts = best.parts
                break
    return found

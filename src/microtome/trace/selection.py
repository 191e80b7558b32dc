"""Choosing edges of a scored graph: the strongest, greedily from the logits, and without what dangles."""

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np

from microtome.trace.nodes import Node


def keep_strongest(values: np.ndarray, allowed: np.ndarray, size: int, into: np.ndarray, *, greedy: bool) -> np.ndarray:
    """bool [senders, receivers]: the `size` edges with the largest values (fewer where greedy reaches no more).

    Parameters
    ----------
    values, allowed : ndarray[senders, receivers]
    size : int
    into : ndarray of bool [receivers, senders]
        Whose input a receiver is; the logits are nobody's.
    greedy : bool
        From the logits up, only edges into what was taken already.
    """
    mask = np.zeros_like(allowed)
    if not greedy:
        flat = np.where(allowed, values, -np.inf).ravel()
        mask.ravel()[np.argsort(-flat, kind="stable")[:size]] = True
        return mask & allowed
    heap: list[tuple[float, int, int]] = []
    open_to = np.zeros(len(into), dtype=bool)

    def reach(receivers: np.ndarray) -> None:
        for j in np.flatnonzero(receivers & ~open_to):
            open_to[j] = True
            for i in np.flatnonzero(allowed[:, j]):
                heapq.heappush(heap, (-float(values[i, j]), int(i), int(j)))

    reach(~into.any(axis=1))
    while heap and mask.sum() < size:
        _, i, j = heapq.heappop(heap)
        mask[i, j] = True
        reach(into[:, i])
    return mask


def pruned(mask: np.ndarray, into: np.ndarray) -> np.ndarray:
    """The mask without edges from senders that receive nothing, and without edges into receivers whose node sends nothing.

    The first sender (the embedding) needs no input. Where nothing connects the embedding with the logits, no edge is left:
    that is a result.
    """
    logits = ~into.any(axis=1)
    while True:
        fed = into[mask.any(axis=0)].any(axis=0)
        fed[0] = True
        useful = logits | (into & mask.any(axis=1)).any(axis=1)
        smaller = mask & fed[:, None] & useful
        if (smaller == mask).all():
            return mask
        mask = smaller


def heard(kept: np.ndarray, into: np.ndarray) -> np.ndarray:
    """bool [receivers]: from which receivers kept edges lead on to the logits; what the others read changes nothing."""
    found = ~into.any(axis=1)
    while True:
        speaks = kept[:, found].any(axis=1)
        more = found | (into & speaks).any(axis=1)
        if (more == found).all():
            return found
        found = more


def inputs_of(senders: Sequence[Node], receivers: Sequence[Any]) -> np.ndarray:
    """bool [receivers, senders]: a query feeds its head, a shared key or value all heads of its group, an MLP itself."""
    into = np.zeros((len(receivers), len(senders)), dtype=bool)
    counts: dict[str, int] = {}
    for node in (*senders, *(r for r in receivers if r is not None)):
        if node.head is not None:
            counts[node.site] = max(counts.get(node.site, 0), node.head + 1)
    place = {(n.site, n.head): i for i, n in enumerate(senders)}
    for j, node in enumerate(receivers):
        if node is None:
            continue
        if node.head is None:
            into[j, place[node.site, None]] = True
            continue
        z = node.site.rpartition(".")[0] + ".z"
        group = counts[z] // counts[node.site]
        into[j, [place[z, node.head * group + k] for k in range(group)]] = True
    return into

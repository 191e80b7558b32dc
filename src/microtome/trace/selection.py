"""Choosing edges of a scored graph: the strongest, greedily from the logits, and without what dangles."""

import heapq

import numpy as np


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

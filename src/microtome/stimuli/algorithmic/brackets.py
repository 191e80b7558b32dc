"""One kind of bracket: nested sequences, sequences that only count right, and sequences that do not."""

import numpy as np
import torch

from microtome.errors import UsageError
from microtome.rng import rng
from microtome.stimuli.stimuli import Stimuli

OPEN, CLOSE = 0, 1
KINDS = ("nested", "equal", "unequal")


def brackets(n: int, seed: int = 0, *, length: int = 16, kind: str = "nested") -> Stimuli:
    """Draw `n` sequences of brackets that begin with an open one and end with a closed one.

    Parameters
    ----------
    n : sequences.
    seed : random stream.
    length : brackets in each, even, at least 6.
    kind : "nested" (every bracket has its partner); "equal" (as many of both, not nested); "unequal" (more of one).

    Returns
    -------
    Stimuli of kind "vector": inputs LongTensor [n, length] of 0 (open) and 1 (closed); table columns nested and equal.

    Raises
    ------
    UsageError
        An odd or short length, an unknown kind, or n < 1.

    Notes
    -----
    Null: on "nested" and "unequal" sequences the rules "is nested" and "counts are equal" give the same answer.
    Misleads when unequal sequences are far from equal: then the first few brackets suffice.

    Examples
    --------
    >>> s = brackets(3, length=8, kind="equal")
    >>> s.labels("equal").tolist(), s.labels("nested").tolist()
    ([True, True, True], [False, False, False])
    """
    import pandas as pd

    if n < 1 or length < 6 or length % 2 or kind not in KINDS:
        raise UsageError(f"brackets needs n >= 1, an even length >= 6 and kind of {KINDS}; got {n}, {length}, {kind!r}.")
    stream, rows = rng(seed, "brackets", kind, length), []
    while sum(map(len, rows)) < n:
        off = stream.choice([-3, -2, -1, 1, 2, 3] if length >= 10 else [-1, 1], max(64, n)) if kind == "unequal" else 0
        closed = np.broadcast_to(length // 2 - 1 + off, max(64, n))
        inner = stream.permuted((np.arange(length - 2) < closed[:, None]).astype(np.int64), axis=1)
        drawn = np.concatenate([np.full((len(inner), 1), OPEN), inner, np.full((len(inner), 1), CLOSE)], axis=1)
        fits = {"nested": is_nested(drawn), "equal": ~is_nested(drawn), "unequal": np.ones(len(drawn), bool)}[kind]
        rows.append(drawn[fits])
    ids = np.concatenate(rows)[:n]
    table = pd.DataFrame({"nested": is_nested(ids), "equal": ids.sum(1) * 2 == length})
    return Stimuli(torch.from_numpy(ids), table, kind="vector", name=f"brackets ({kind})")


def is_nested(ids: np.ndarray) -> np.ndarray:
    """Whether each row [n, length] is nested."""
    depth = np.cumsum(1 - 2 * np.asarray(ids), axis=1)
    return (depth >= 0).all(1) & (depth[:, -1] == 0)


def partners(ids: np.ndarray) -> np.ndarray:
    """For each closed bracket the place of the open one that it closes, -1 elsewhere [n, length]."""
    out = np.full(np.shape(ids), -1)
    for i, row in enumerate(np.asarray(ids)):
        stack: list[int] = []
        for j, bracket in enumerate(row):
            if bracket == OPEN:
                stack.append(j)
            elif stack:
                out[i, j] = stack.pop()
    return out

"""Orders of rows: shuffles for training, and the permutations, shifts and bootstraps that nulls are made of."""

from collections.abc import Iterator

import numpy as np

from microtome.errors import Degenerate
from microtome.rng import rng

#: A shuffle reads runs of this many rows (one disk access), and mixes `SHUFFLE_RUNS` of them from all over the data.
RUN_ROWS, SHUFFLE_RUNS = 256, 64


def shuffled(rows: int, seed: int) -> Iterator[np.ndarray]:
    """Every row once, in pieces of at most 16384 rows: runs in random order, then rows permuted within a piece.

    The order depends on `rows` and `seed` only, not on how the rows are stored or batched.
    """
    draw = rng(seed, "recording.batches")
    runs = draw.permutation(-(-rows // RUN_ROWS))
    for lo in range(0, len(runs), SHUFFLE_RUNS):
        starts = np.sort(runs[lo : lo + SHUFFLE_RUNS]) * RUN_ROWS
        piece = (starts[:, None] + np.arange(RUN_ROWS)).ravel()
        yield draw.permutation(piece[piece < rows])


def shifted(groups: np.ndarray, seed: int) -> np.ndarray:
    """For each row the row its value comes from: a circular shift by 1 to n-1 within each group of n rows."""
    order, starts, counts = _grouped(groups)
    if not (counts > 1).any():
        raise Degenerate("no document has two rows, so nothing can be shifted; use permuted(seed).")
    offset = rng(seed, "recording.shifted").integers(1, np.maximum(counts, 2))
    place = np.arange(len(groups)) - np.repeat(starts, counts)
    rotated = (place - np.repeat(offset, counts)) % np.repeat(counts, counts) + np.repeat(starts, counts)
    source = np.empty(len(groups), dtype=np.int64)
    source[order] = order[rotated]
    return source


def bootstrapped(groups: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of groups drawn with replacement, and for each the number of the draw."""
    order, starts, counts = _grouped(groups)
    if not len(counts):
        raise Degenerate("the recording has no rows, so there is nothing to resample.")
    drawn = rng(seed, "recording.resampled").integers(0, len(counts), len(counts))
    sizes = counts[drawn]
    ends = np.cumsum(sizes)
    place = np.arange(ends[-1]) - np.repeat(ends - sizes, sizes)
    return order[np.repeat(starts[drawn], sizes) + place], np.repeat(np.arange(len(drawn)), sizes)


def _grouped(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows sorted by group (stable), and start and length of each group in that order."""
    order = np.argsort(groups, kind="stable")
    _, starts, counts = np.unique(groups[order], return_index=True, return_counts=True)
    return order, starts, counts

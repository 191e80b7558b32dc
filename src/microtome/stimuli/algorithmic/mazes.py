"""Lattice mazes as token lists: connections in shuffled order, origin, target; which cells are connected."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from microtome.errors import UsageError


@cache
def lattice(rows: int, columns: int) -> tuple[tuple[int, int], ...]:
    """All possible connections (cell, cell) of neighbours; cells are numbered row by row.

    >>> lattice(2, 2)
    ((0, 1), (0, 2), (1, 3), (2, 3))
    """
    if min(rows, columns) < 1 or rows * columns < 2:
        raise UsageError(f"a maze needs at least two cells, got {rows} x {columns}.")
    right = [(c, c + 1) for c in range(rows * columns) if (c + 1) % columns]
    down = [(c, c + columns) for c in range((rows - 1) * columns)]
    return tuple(sorted(right + down))


def connected(present: np.ndarray, edges: Sequence[tuple[int, int]], cells: int) -> np.ndarray:
    """Which cells can be reached from which [n, cells, cells], given present [n, edges].

    >>> connected(np.array([[True, False, False, True]]), lattice(2, 2), 4)[0].astype(int).tolist()
    [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    """
    reach = np.tile(np.eye(cells, dtype=bool), (len(present), 1, 1))
    for k, (a, b) in enumerate(edges):
        reach[:, a, b] |= present[:, k]
        reach[:, b, a] |= present[:, k]
    for _ in range(max(1, int(np.ceil(np.log2(cells))))):
        reach = (reach.astype(np.int64) @ reach.astype(np.int64)) > 0
    return reach


def maze_tokens(
    present: np.ndarray, edges: Sequence[tuple[int, int]], asked: np.ndarray, slots: int, random: np.random.Generator
) -> Tensor:
    """Token ids [n, 3 * slots + 3]: per slot "cell cell ;" (empty slots "- - ;"), then origin, target and "=".

    Parameters
    ----------
    present : bool [n, edges]
        The connections of each maze, at most `slots`.
    asked : int [n, 2]
        Origin and target.
    slots : places for connections; which connection stands in which slot, and which cell first, is random.

    Raises
    ------
    UsageError
        When a maze has more connections than slots.

    Notes
    -----
    Cells are 0..cells-1; "-", ";" and "=" are cells, cells + 1, cells + 2 with cells = the largest cell + 1.
    """
    cells = max(max(e) for e in edges) + 1
    most = int(present.sum(1).max())
    if most > slots:
        raise UsageError(f"a maze has {most} connections, and there are {slots} slots.")
    ids = np.full((len(present), slots, 3), cells)
    ids[:, :, 2] = cells + 1
    ends = np.asarray(edges)
    for i, row in enumerate(present):
        chosen = random.permutation(np.flatnonzero(row))
        place = random.permutation(slots)[: len(chosen)]
        turned = random.integers(0, 2, len(chosen))
        ids[i, place, 0] = ends[chosen, turned]
        ids[i, place, 1] = ends[chosen, 1 - turned]
    question = np.concatenate([asked, np.full((len(asked), 1), cells + 2)], axis=1)
    return torch.from_numpy(np.concatenate([ids.reshape(len(ids), -1), question], axis=1))

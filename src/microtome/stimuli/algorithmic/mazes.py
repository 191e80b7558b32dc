"""Lattice mazes as token lists: connections in shuffled order, how far cells are, the next step, and one connection changed."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from microtome.errors import ShapeError, UsageError


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


def distances(present: np.ndarray, edges: Sequence[tuple[int, int]], cells: int) -> np.ndarray:
    """Steps from each cell to each other [n, cells, cells], infinite where there is no way, given present [n, edges].

    >>> distances(np.array([[True, False, True, False]]), lattice(2, 2), 4)[0, 0].tolist()
    [0.0, 1.0, inf, 2.0]
    """
    far = np.where(np.eye(cells, dtype=bool), 0.0, np.full((len(present), 1, 1), np.inf))
    for k, (a, b) in enumerate(edges):
        far[present[:, k], a, b] = far[present[:, k], b, a] = 1.0
    for way in range(cells):  # Floyd and Warshall: ways through one more cell
        far = np.minimum(far, far[:, :, [way]] + far[:, [way], :])
    return far


def next_cells(
    present: np.ndarray, edges: Sequence[tuple[int, int]], cells: int, origin: int, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The first cell on the shortest way from `origin` to each target [n], -1 without a way; and whether it is the only one.

    >>> both = np.array([[True, True, True, True], [False, False, True, True]])
    >>> [found.tolist() for found in next_cells(both, lattice(2, 2), 4, 0, np.array([3, 3]))]
    [[1, -1], [False, True]]
    """
    far = distances(present, edges, cells)
    to = far[np.arange(len(target)), :, target]
    nearer = (far[:, origin] == 1) & (to < to[:, [origin]])
    return np.where(nearer.any(1), nearer.argmax(1), -1), nearer.sum(1) <= 1


def maze_tokens(
    present: np.ndarray, edges: Sequence[tuple[int, int]], asked: np.ndarray, slots: int, random: np.random.Generator
) -> Tensor:
    """Token ids [n, 3 * slots + 3]: "cell cell ;" for each connection, "cell cell #" in other slots; origin, target, "=".

    Which connection stands in which slot, and which cell first, is random; slots without one hold two cells drawn at random,
    so that counting cells does not tell the maze.

    Parameters
    ----------
    present : bool [n, edges]
        The connections of each maze, at most `slots`.
    edges : pairs of cells
        As from `lattice`.
    asked : int [n, 2]
        Origin and target.
    slots : int
        Places for connections.

    Raises
    ------
    ShapeError
        When `present` or `asked` do not fit.
    UsageError
        When a maze has more connections than slots.

    Notes
    -----
    Cells are 0..cells-1; ";", "#" and "=" are cells, cells + 1, cells + 2 with cells = the largest cell + 1.
    """
    n, ends = len(present), np.asarray(edges)
    if present.shape != (n, len(ends)) or asked.shape != (n, 2):
        raise ShapeError(f"expected [n, {len(ends)}] connections and [n, 2] cells, got {present.shape} and {asked.shape}.")
    if (most := int(present.sum(1).max())) > slots:
        raise UsageError(f"a maze has {most} connections, and there are {slots} slots.")
    cells = int(ends.max()) + 1
    pairs = random.random((n, slots, cells)).argsort(2)[:, :, :2]
    marks = np.full((n, slots), cells + 1)
    row, edge = np.nonzero(present)
    slot = random.random((n, slots)).argsort(1)[row, (present.cumsum(1) - 1)[row, edge]]
    turned = random.integers(0, 2, len(row))
    pairs[row, slot] = np.stack([ends[edge, turned], ends[edge, 1 - turned]], 1)
    marks[row, slot] = cells
    question = np.concatenate([asked, np.full((n, 1), cells + 2)], axis=1)
    return torch.from_numpy(np.concatenate([np.concatenate([pairs, marks[:, :, None]], 2).reshape(n, -1), question], axis=1))


def switched_connections(ids: Tensor, pairs: Tensor, *, on: bool) -> tuple[Tensor, Tensor]:
    """Token lists of `maze_tokens` with one connection written into the first free slot, or its slot marked as free.

    Parameters
    ----------
    ids : Tensor [n, 3 * slots + 3]
    pairs : Tensor [n, 2]
        The two cells of each connection, the smaller one first.
    on : bool
        Write the connection; otherwise the cells stay and ";" becomes "#".

    Returns
    -------
    (Tensor, Tensor)
        The lists, and where the changed separator stands [n].

    Raises
    ------
    UsageError
        When a list has no free slot, or not the connection.
    """
    new, rows = ids.clone(), torch.arange(len(ids))
    parts = ids[:, :-3].reshape(len(ids), -1, 3)
    free = parts[:, :, 2] == ids[:, -1:] - 1
    listed = (parts[:, :, :2].sort(-1).values == pairs[:, None]).all(-1) & ~free
    wanted = free if on else listed
    if not wanted.any(1).all():
        raise UsageError(f"list {int((~wanted.any(1)).int().argmax())} has {'no free slot' if on else 'not the connection'}.")
    place = 3 * wanted.int().argmax(1) + 2
    new[rows, place] = ids[:, -1] - 2 if on else ids[:, -1] - 1
    if on:
        new[rows, place - 2], new[rows, place - 1] = pairs.T
    return new, place

"""Rearrangements of rows: all of them when they are few, random ones otherwise. Rows never leave their block."""

from collections.abc import Iterator
from itertools import combinations, permutations, product
from math import comb, factorial, prod

import numpy as np

from microtome.evidence._arrays import chunks


def row_permutations(
    rows: int, draws: int, generator: np.random.Generator, blocks: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Chunks [draws, rows] of random permutations of 0..rows-1, uniform within each block."""
    base = np.arange(rows) if blocks is None else np.argsort(blocks, kind="stable")
    for size in chunks(draws, rows):
        if blocks is None:
            yield generator.permuted(np.tile(base, (size, 1)), axis=1)
            continue
        order = np.argsort(generator.random((size, rows)) + blocks, axis=1)
        result = np.empty_like(order)
        result[:, base] = order
        yield result


def count_splits(first: np.ndarray, blocks: np.ndarray) -> int:
    """In how many ways the rows can be split in two, keeping each block's numbers."""
    return prod(comb(int((blocks == b).sum()), int(first[blocks == b].sum())) for b in np.unique(blocks))


def all_splits(first: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Every split as a bool matrix [splits, rows], the observed one left out."""
    members = [np.flatnonzero(blocks == b) for b in np.unique(blocks)]
    choices = [combinations(rows, int(first[rows].sum())) for rows in members]
    chosen = [np.concatenate([np.array(part, dtype=int) for part in parts]) for parts in product(*choices)]
    splits = np.zeros((len(chosen), len(first)), dtype=bool)
    for row, members_of_first in zip(splits, chosen):
        row[members_of_first] = True
    return splits[(splits != first).any(1)]


def all_signs(rows: int) -> np.ndarray:
    """Every assignment of signs as a matrix of -1 and 1 [2**rows - 1, rows], the observed one (all 1) left out."""
    bits = (np.arange(1, 2**rows)[:, None] >> np.arange(rows)) & 1
    return 1.0 - 2.0 * bits


def all_permutations(rows: int, blocks: np.ndarray) -> np.ndarray:
    """Every permutation within blocks [number, rows], the identity left out."""
    members = [np.flatnonzero(blocks == b) for b in np.unique(blocks)]
    result = []
    for parts in product(*(permutations(rows_) for rows_ in members)):
        order = np.empty(rows, dtype=int)
        for rows_, part in zip(members, parts):
            order[rows_] = part
        result.append(order)
    return np.array(result[1:], dtype=int).reshape(-1, rows)


def count_permutations(blocks: np.ndarray) -> int:
    """How many permutations keep every row in its block."""
    return prod(factorial(int(size)) for size in np.bincount(blocks))

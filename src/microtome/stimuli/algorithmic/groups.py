"""Multiplication tables of small groups: LongTensor [order, order]; entry (a, b) is the number of a b, element 0 the unit."""

from itertools import permutations

import torch
from torch import Tensor

from microtome.errors import UsageError


def cyclic(n: int) -> Tensor:
    """Addition modulo n.

    >>> cyclic(3).tolist()
    [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    """
    a = torch.arange(_size(n, 1))
    return (a[:, None] + a) % n


def dihedral(n: int) -> Tensor:
    """Symmetries of a regular n-gon, order 2n: rotation r is element r, its product with a reflection n + r.

    >>> dihedral(3).shape
    torch.Size([6, 6])
    """
    a = torch.arange(2 * _size(n, 1))
    turn, flip = a % n, a // n
    sign = 1 - 2 * flip[:, None]
    return (turn[:, None] + sign * turn) % n + n * ((flip[:, None] + flip) % 2)


def symmetric(n: int) -> Tensor:
    """Permutations of n things, in lexical order; ``(a b)(i) = a(b(i))``.

    >>> symmetric(3)[1, 1].item()  # a transposition is its own inverse
    0
    """
    elements = list(permutations(range(_size(n, 1))))
    number = {p: i for i, p in enumerate(elements)}
    return torch.tensor([[number[tuple(a[i] for i in b)] for b in elements] for a in elements])


def inverses(table: Tensor) -> Tensor:
    """The number of each element's inverse, LongTensor [order]."""
    return (table == 0).int().argmax(1)


def _size(n: int, least: int) -> int:
    if n < least:
        raise UsageError(f"a group of size {n} was asked for; at least {least}.")
    return n

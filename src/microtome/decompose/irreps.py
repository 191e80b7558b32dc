"""Real irreducible representations of a finite group, found from its table, and how much of a network is made of each.

A symmetric matrix that commutes with all left translations has eigenspaces that are irreducible: a random one is drawn and
the translations are read in each of them. Complex pairs come as one real representation.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.rng import torch_rng


@dataclass(frozen=True)
class Irrep:
    """One real irreducible representation.

    Attributes
    ----------
    matrices : Tensor[order, d, d]
        rho(g), orthogonal, in float64.
    """

    matrices: Tensor

    @property
    def dim(self) -> int:
        """d."""
        return self.matrices.shape[1]

    @property
    def character(self) -> Tensor:
        """tr rho(g), [order]."""
        return self.matrices.diagonal(dim1=1, dim2=2).sum(1)

    @property
    def functions(self) -> Tensor:
        """Orthonormal functions on the group spanned by the entries of rho: [order, d^2], fewer columns for complex pairs."""
        u, s, _ = torch.linalg.svd(self.matrices.flatten(1), full_matrices=False)
        return u[:, s > 1e-8 * s[0]]


def irreps(table: Tensor, *, seed: int = 0) -> list[Irrep]:
    """All real irreducible representations of a group, by dimension, the trivial one first.

    Parameters
    ----------
    table : LongTensor[order, order]
        Entry (a, b) is the number of a b; element 0 is the unit. See `microtome.stimuli.algorithmic.groups`.
    seed : int
        Of the random commuting matrix.

    Raises
    ------
    UsageError
        When the table is not that of a group with unit 0.

    Examples
    --------
    >>> table = (torch.arange(5)[:, None] + torch.arange(5)) % 5
    >>> [rho.dim for rho in irreps(table)]
    [1, 2, 2]
    """
    _check_group(table)
    n = len(table)
    inverse = (table == 0).int().argmax(1)
    drawn = torch.rand(n, generator=torch_rng(seed, "irreps"), dtype=torch.float64)
    drawn = drawn + drawn[inverse]
    # c(h^-1 k) commutes with left translation and is symmetric.
    values, vectors = torch.linalg.eigh(drawn[table[inverse]])
    translations = torch.zeros(n, n, n, dtype=torch.float64)
    translations[torch.arange(n)[:, None], table, torch.arange(n)[None]] = 1.0
    found: list[Irrep] = []
    edges = [0, *(i + 1 for i in range(n - 1) if values[i + 1] - values[i] > 1e-9 * values.abs().max()), n]
    for start, stop in pairwise(edges):
        q = vectors[:, start:stop]
        rho = Irrep(q.T @ translations @ q)
        if not any(_same(rho, other) for other in found):
            found.append(rho)
    return sorted(found, key=lambda r: (r.dim, -float(r.character.sum()), -r.character.tolist()[-1]))


def variance_by_irrep(x: Tensor, representations: list[Irrep]) -> Tensor:
    """Share of the variance over the group of x[order, d] that lies in the entries of each representation.

    Notes
    -----
    Null: a random subspace of r functions holds about ``r / order``; or relabel the elements. The shares of all sum to 1
    (the trivial one's is 0, since x is centred).
    """
    if x.ndim != 2 or len(x) != len(representations[0].matrices):
        raise ShapeError(f"x must be [{len(representations[0].matrices)}, d], got {tuple(x.shape)}.")
    centred = x.detach().double() - x.detach().double().mean(0)
    whole = centred.square().sum()
    if not float(whole) > 0:
        raise Degenerate("x does not vary over the group.")
    return torch.stack([(rho.functions.T @ centred).square().sum() / whole for rho in representations])


def character_logits(table: Tensor, representations: list[Irrep]) -> Tensor:
    """``chi_rho(a b c^-1)`` for every pair and answer: [representations, order^2, order], row ``a order + b``."""
    inverse = (table == 0).int().argmax(1)
    product = table[table.flatten()[:, None], inverse[None]]
    return torch.stack([rho.character[product] for rho in representations])


def fit_characters(logits: Tensor, table: Tensor, representations: list[Irrep]) -> tuple[Tensor, float]:
    """Least squares of centred logits [order^2, order] on characters: the fit, and the share of variance it explains."""
    terms = character_logits(table, representations)
    terms = terms - terms.mean(2, keepdim=True)
    y = logits.detach().double()
    y = y - y.mean(1, keepdim=True)
    # Different characters are orthogonal, so each has a coefficient of its own; the trivial one is nothing once centred.
    sizes = terms.square().sum((1, 2))
    inner = torch.einsum("kpc,pc->k", terms, y)
    weights = torch.where(sizes > 1e-9 * y.numel(), inner / sizes.clamp_min(1e-300), 0.0)
    fit = torch.einsum("k,kpc->pc", weights, terms)
    return fit, float(1 - (y - fit).square().sum() / y.square().sum())


def _same(a: Irrep, b: Irrep) -> bool:
    return a.dim == b.dim and bool((a.character - b.character).abs().max() < 1e-6)


def _check_group(table: Tensor) -> None:
    n = len(table)
    every = torch.arange(n)
    latin = table.ndim == 2 and table.shape == (n, n) and bool((table.sort(0).values == every[:, None]).all())
    if not latin or not torch.equal(table[0], every) or not torch.equal(table[table], table[:, table]):
        raise UsageError("this is not the table of a group whose element 0 is the unit.")

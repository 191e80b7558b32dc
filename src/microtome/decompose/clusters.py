"""Which latents of a dictionary belong together, and what a group of them writes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.errors import Degenerate, UsageError
from microtome.subject.basis import Linear


def by_cosine(directions: Tensor, *, cosine: float = 0.5, neighbours: int = 2) -> list[list[int]]:
    """Groups of latents whose directions point alike: connected components of a graph of nearest neighbours.

    Each latent is joined with those of its `neighbours` nearest ones whose cosine exceeds `cosine`. Groups of one are
    left out. Largest first.

    >>> by_cosine(torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.0]]))
    [[0, 1]]
    """
    unit = torch.nn.functional.normalize(directions.detach().double().cpu(), dim=1)
    return _components(unit @ unit.T, cosine, neighbours)


def by_jaccard(codes: Tensor, *, overlap: float = 0.2, neighbours: int = 2) -> list[list[int]]:
    """Groups of latents that fire together: as `by_cosine`, with the Jaccard overlap of the rows on which they do.

    >>> by_jaccard(torch.tensor([[1.0, 2.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 3.0]]))
    [[0, 1]]
    """
    on = (codes != 0).double()
    both = on.T @ on
    either = on.sum(0)[:, None] + on.sum(0)[None, :] - both
    return _components(both / either.clamp_min(1), overlap, neighbours)


def written(basis: Any, codes: Tensor, latents: Sequence[int]) -> Tensor:
    """What a group of latents writes on the rows where any of them fires: ``y = sum_i f_i W_dec,i``, Tensor[rows, d]."""
    part = codes[:, list(latents)]
    part = part[(part != 0).any(1)]
    return part.double() @ basis.directions[list(latents)].double().to(part.device)


def cluster_plane(recording: Any, basis: Any, latents: Sequence[int], *, pair: int = 0) -> Linear:
    """The plane in which a group of latents writes: two consecutive principal components of what it writes, as a basis.

    Parameters
    ----------
    recording : Recording
        One site.
    basis : Basis
        Whose latents.
    latents : sequence of int
        The group, e.g. a row of `multi_dim_features`.
    pair : int
        Components `pair` and ``pair + 1``. Default 0.

    Returns
    -------
    Linear
        Two orthonormal directions; reads the whole site, not only what the group writes.

    Raises
    ------
    Degenerate
        When the group writes on too few rows, or along too few dimensions.
    """
    if not latents or not all(isinstance(i, (int, np.integer)) and 0 <= i < basis.dim for i in latents):
        raise UsageError(f"latents must be numbers of 0..{basis.dim - 1}, got {list(latents)}.")
    y = written(basis, basis.encode(recording.matrix()), latents)
    axes = principal(y)[1]
    if not 0 <= pair < len(axes) - 1:
        raise Degenerate(f"the group writes along {len(axes)} dimensions on {len(y)} rows: it has no pair {pair}.")
    chosen = axes[pair : pair + 2].to(recording.matrix().dtype)
    offset = recording.mean().flatten().to(chosen)
    return Linear(basis.site, chosen.T, chosen, offset, name="plane", subject=getattr(basis, "subject", ""))


def principal(y: Tensor, most: int = 5) -> tuple[Tensor, Tensor]:
    """Scores [rows, c] and orthonormal axes [c, d] of the leading components, c <= `most`, that carry any variance."""
    if len(y) < 2:
        return y.new_zeros(len(y), 0), y.new_zeros(0, y.shape[1])
    centred = y - y.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(y))
    order = values.argsort(descending=True)[:most]
    order = order[values[order] > 1e-9 * values.max().clamp_min(1e-300)]
    axes = vectors[:, order].T
    axes = axes * torch.sign(axes.gather(1, axes.abs().argmax(1, keepdim=True)))  # the sign of an eigenvector is free
    return centred @ axes.T, axes


def _components(similarity: Tensor, floor: float, neighbours: int) -> list[list[int]]:
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    if neighbours < 1:
        raise UsageError(f"neighbours must be at least 1, got {neighbours}.")
    n = len(similarity)
    if n < 2:
        return []
    table = similarity.clone()
    table.fill_diagonal_(-torch.inf)
    values, indices = table.topk(min(neighbours, n - 1), dim=1)
    keep = (values > floor).numpy()
    rows = np.broadcast_to(np.arange(n)[:, None], keep.shape)[keep]
    graph = csr_matrix((np.ones(len(rows)), (rows, indices.numpy()[keep])), shape=(n, n))
    label = connected_components(graph, directed=False)[1]
    groups = [np.flatnonzero(label == c).tolist() for c in np.unique(label)]
    return sorted((g for g in groups if len(g) > 1), key=lambda g: (-len(g), g[0]))

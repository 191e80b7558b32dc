"""Who acts on whom between two layers in given coordinates, the modules of that graph, and what a layer has too much of."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.decompose.interaction import BATCH, flow, moments
from microtome.errors import ShapeError
from microtome.subject.basis import Linear


def interaction_edges(subject: Any, inputs: Any, lower: Linear, upper: Linear, *, points: int = 8) -> Tensor:
    """Strength of every edge between the coordinates of two layers.

    ``E_ij = mean_x sum_t (int_0^1 dalpha sum_s d z'_(t,i) / d z_(s,j) at alpha z, times z_(s,j))^2``, the integral by
    Gauss and Legendre; the path runs from the mean to the activation.

    Parameters
    ----------
    subject, inputs
        As `Subject.run` takes them, without padding.
    lower, upper : Linear
        Bases of two sites, the second downstream.
    points : int
        Nodes of the integral. Default 8.

    Returns
    -------
    Tensor[upper.dim, lower.dim] in float64
    """
    given = subject.inputs(inputs)
    nodes, weights = np.polynomial.legendre.leggauss(points)
    edges = torch.zeros(upper.dim, lower.dim, dtype=torch.float64)
    for i in range(0, len(given), BATCH):
        part = given[i : i + BATCH]
        z = lower.encode(flow(subject, part, lower.site, upper.site)[0].detach()).double()
        total: Tensor | float = 0.0
        for node, weight in zip((nodes + 1) / 2, weights / 2):
            scale = lambda f, a=float(node): lower.offset.to(f) + a * (f - lower.offset.to(f))  # noqa: E731
            f, y = flow(subject, part, lower.site, upper.site, scale)
            out = upper.encode(y).flatten(1)
            rows = []
            for k in range(out.shape[1]):
                (g,) = torch.autograd.grad(out[:, k].sum(), f, retain_graph=k + 1 < out.shape[1])
                inner = (g.double() @ lower.decoder.to(g.device).double().T) * z
                rows.append(inner.flatten(1, -2).sum(1) if inner.ndim > 2 else inner)
            total = total + float(weight) * torch.stack(rows, 1)
        assert isinstance(total, Tensor)
        edges += total.square().sum(0).view(-1, upper.dim, lower.dim).sum(0).cpu()
    return edges / len(given)


@dataclass(frozen=True)
class Modules:
    """A split of coordinates into communities.

    Attributes
    ----------
    lower, upper : ndarray of int
        Community of each coordinate of the two layers.
    modularity : float
        Of the split.
    p : float
        Share of graphs with the same edge strengths in random places that split at least as well.
    """

    lower: np.ndarray
    upper: np.ndarray
    modularity: float
    p: float


def interaction_modules(edges: Tensor, *, floor: float = 1e-6, draws: int = 99, seed: int = 0) -> Modules:
    """Communities of an interaction graph, with weights ``log(E_ij / epsilon)``, at least 0 (Louvain).

    The cost of undoing an interaction grows with the logarithm of its strength, so weights do too.

    Parameters
    ----------
    edges : Tensor[upper, lower]
        See `interaction_edges`.
    floor : float
        epsilon as a share of the largest edge. Default 1e-6.
    draws : int
        Permuted graphs for `p`. Default 99.
    seed : int
        For the search and the permutations.
    """
    from microtome.rng import rng

    if edges.ndim != 2 or not 0 < floor < 1:
        raise ShapeError(f"edges must be [upper, lower] and floor in (0, 1), got {tuple(edges.shape)} and {floor!r}.")
    e = edges.double().numpy()
    weights = np.log(np.maximum(e / (floor * e.max()), 1.0)) if e.max() > 0 else np.zeros_like(e)
    labels, score = _louvain(weights, seed)
    draw = rng(seed, "interaction modules")
    null = [_louvain(draw.permuted(weights.ravel()).reshape(weights.shape), seed)[1] for _ in range(draws)]
    p = (1 + sum(s >= score for s in null)) / (1 + draws)
    return Modules(labels[: e.shape[1]], labels[e.shape[1] :], score, p)


def _louvain(weights: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    import networkx as nx

    upper, lower = weights.shape
    graph = nx.Graph()
    graph.add_nodes_from(range(lower + upper))
    graph.add_weighted_edges_from((j, lower + i, weights[i, j]) for i, j in zip(*np.nonzero(weights)))
    if not graph.number_of_edges():
        return np.arange(lower + upper), 0.0
    found = nx.community.louvain_communities(graph, seed=seed)
    labels = np.zeros(lower + upper, dtype=int)
    for k, members in enumerate(found):
        labels[list(members)] = k
    return labels, float(nx.community.modularity(graph, found))


@dataclass(frozen=True)
class Degeneracy:
    """What a layer has too much of.

    Attributes
    ----------
    width : int
    activation_rank, gradient_rank : int
        Directions that vary, and directions along which the output has a gradient.
    activations, gradients : tuple of float
        The two spectra, largest first, as shares of the largest.
    synchronised : tuple of tuple of int
        Units that are on (above 0) for the same inputs, in groups of two or more; such a block is linear.
    """

    width: int
    activation_rank: int
    gradient_rank: int
    activations: tuple[float, ...]
    gradients: tuple[float, ...]
    synchronised: tuple[tuple[int, ...], ...]


def degeneracy(subject: Any, inputs: Any, *, at: str, cutoff: float = 1e-6) -> Degeneracy:
    """Count linear dependence of activations and of gradients, and synchronised ReLUs, at a site.

    Parameters
    ----------
    at : str
        The site; for synchronised units one after (or before) a ReLU.
    cutoff : float
        Eigenvalues below this share of the largest count as 0. Report the spectra beside the ranks.
    """
    given = subject.inputs(inputs)
    mean, covariance, gradient = moments(subject, given, at, None)
    # Second moments, not covariances: a constant activation is a direction that a weight can use.
    spectra = [_spectrum(m) for m in (covariance + torch.outer(mean, mean), gradient)]
    values = torch.cat([flow(subject, given[i : i + BATCH], at, None)[0].detach() for i in range(0, len(given), BATCH)])
    on = (values.flatten(0, -2) > 0).T.cpu().numpy()
    groups: dict[bytes, list[int]] = {}
    for unit, pattern in enumerate(np.packbits(on, axis=1)):
        if on[unit].any() and not on[unit].all():
            groups.setdefault(pattern.tobytes(), []).append(unit)
    ranks = [sum(value > cutoff for value in spectrum) for spectrum in spectra]
    together = tuple(tuple(g) for g in groups.values() if len(g) > 1)
    return Degeneracy(len(mean), *ranks, *spectra, together)


def _spectrum(matrix: Tensor) -> tuple[float, ...]:
    values = torch.linalg.eigvalsh((matrix + matrix.T) / 2).flip(0).clamp_min(0.0)
    return tuple((values / values[0].clamp_min(1e-300)).tolist())

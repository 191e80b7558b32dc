"""A graph at several resolutions: nodes in clusters by the slow directions of its Laplacian, clusters in clusters."""

from dataclasses import dataclass

import numpy as np

from microtome.errors import NonFinite, ShapeError, UsageError
from microtome.rng import derive

#: How many of the slowest directions of the Laplacian place the nodes.
DIRECTIONS = 8


@dataclass(frozen=True)
class Cluster:
    """Some nodes, and the clusters that they fall into; a single node has none."""

    members: tuple[int, ...]
    parts: "tuple[Cluster, ...]" = ()


def levels(affinity: np.ndarray, nodes: np.ndarray, scores: np.ndarray, *, branching: int = 4, seed: int = 0) -> Cluster:
    """Split some nodes of a graph again and again into `branching` clusters, down to single nodes.

    Nodes are placed by the bottom eigenvectors of ``L = I - D^-1/2 W D^-1/2`` over the whole graph and by their score, and
    divided by k-means. Direction of the edges plays no part.

    Parameters
    ----------
    affinity : ndarray[n, n]
        W, symmetric, not negative.
    nodes : ndarray of int [k]
        Which of the n are divided; the others only connect them.
    scores : ndarray[k]
        How likely each is to belong to a circuit, in any units; nodes of like score are kept together.
    branching : int, default 4
    seed : int, default 0
        Of k-means.

    Returns
    -------
    Cluster
        The root, with all `nodes`.

    Raises
    ------
    ShapeError, UsageError, NonFinite
        When the matrix is not square and symmetric, branching is below 2, there are no nodes, or a number is not finite.

    Examples
    --------
    >>> w = np.kron(np.eye(2), np.ones((3, 3)))
    >>> [sorted(p.members) for p in levels(w, np.arange(6), np.zeros(6), branching=2).parts]
    [[0, 1, 2], [3, 4, 5]]
    """
    n = len(affinity)
    if affinity.shape != (n, n) or not np.allclose(affinity, affinity.T):
        raise ShapeError(f"an affinity must be square and symmetric, got {affinity.shape}.")
    if branching < 2:
        raise UsageError(f"branching must be at least 2, got {branching}.")
    if not len(nodes) or len(scores) != len(nodes):
        raise UsageError(f"{len(nodes)} nodes and {len(scores)} scores: there must be as many, and at least one.")
    if not (np.isfinite(affinity).all() and np.isfinite(scores).all()):
        raise NonFinite("an affinity or a score is not a number.")
    # With as many directions as nodes, all nodes would be equally far from each other.
    place = slow(affinity, min(DIRECTIONS, max(2, n // 3), n))[nodes]
    spread = scores.std()
    place = np.column_stack([place / max(place.std(), 1e-12), (scores - scores.mean()) / (spread if spread > 0 else 1.0)])
    # The score weighs as much as all directions together.
    place[:, -1] *= np.sqrt(place.shape[1] - 1)
    return _divide(np.asarray(nodes), place, np.arange(len(nodes)), branching, seed)


def slow(affinity: np.ndarray, count: int) -> np.ndarray:
    """The eigenvectors [n, count] of the normalised Laplacian with the smallest eigenvalues, each of a fixed sign."""
    degree = affinity.sum(axis=1)
    root = np.where(degree > 0, 1 / np.sqrt(np.maximum(degree, 1e-30)), 0.0)
    laplacian = np.eye(len(affinity)) - root[:, None] * affinity * root
    vectors = np.linalg.eigh((laplacian + laplacian.T) / 2)[1][:, :count]
    largest = np.abs(vectors).argmax(axis=0)
    return vectors * np.sign(vectors[largest, np.arange(count)])


def _divide(names: np.ndarray, place: np.ndarray, own: np.ndarray, branching: int, seed: int) -> Cluster:
    members = tuple(int(i) for i in names[own])
    if len(own) == 1:
        return Cluster(members)
    if len(own) <= branching:
        groups = [own[[i]] for i in range(len(own))]
    else:
        groups = _groups(place[own], own, branching, derive(seed, "levels", len(own)) % 2**32)
    return Cluster(members, tuple(_divide(names, place, g, branching, seed) for g in groups))


def _groups(place: np.ndarray, own: np.ndarray, branching: int, state: int) -> list[np.ndarray]:
    """k-means; where nodes cannot be told apart, equal shares in order."""
    from scipy.cluster.vq import kmeans2

    if len(np.unique(place.round(9), axis=0)) < branching:
        return np.array_split(own, branching)
    label = kmeans2(place, branching, iter=30, minit="++", seed=np.random.default_rng(state), missing="warn")[1]
    found = [own[label == k] for k in dict.fromkeys(label.tolist())]
    return found if len(found) > 1 else np.array_split(own, branching)

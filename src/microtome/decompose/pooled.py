"""One sparse vector per sample from the codes of its rows, and how alike two such vectors are."""

from typing import TYPE_CHECKING, Any

import numpy as np

from microtome.decompose.places import checked, streamed
from microtome.errors import UsageError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

POOLINGS = ("mean", "max", "last")
METRICS = ("jaccard", "cosine")


def pooled(recording: Any, basis: Any, *, pooling: str = "mean") -> tuple["csr_matrix", np.ndarray]:
    """Codes of each sample, pooled over its rows: sparse [samples, latents], and the samples' numbers in the table.

    Parameters
    ----------
    recording : Recording
        One site; streamed, never dense as a whole.
    basis : Basis
        Of that site.
    pooling : {"mean", "max", "last"}
        Over the rows of a sample: their mean, their largest code (at least 0), or the code of the last row.

    Raises
    ------
    UsageError
        When `pooling` is none of these.
    """
    from scipy.sparse import csr_matrix, vstack

    if pooling not in POOLINGS:
        raise UsageError(f"pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}.")
    checked(recording, basis)
    z = vstack([csr_matrix(part) for part in streamed(recording, basis)]).tocsr()
    names, place = np.unique(recording.index["sample"].to_numpy(), return_inverse=True)
    rows = np.arange(len(place))
    if pooling == "mean":
        share = 1.0 / np.bincount(place)[place]
        return csr_matrix((share, (place, rows)), shape=(len(names), len(place))) @ z, names
    if pooling == "last":
        last = np.zeros(len(names), dtype=np.int64)
        np.maximum.at(last, place, rows)
        return z[last], names
    cells, width = z.tocoo(), int(basis.dim)
    key = place[cells.row] * width + cells.col
    order = np.argsort(key, kind="stable")
    kept, first = np.unique(key[order], return_index=True)
    largest = np.maximum.reduceat(cells.data[order], first).clip(min=0) if len(kept) else np.zeros(0)
    return csr_matrix((largest, np.divmod(kept, width)), shape=(len(names), width)), names


def unit_sum(z: "csr_matrix") -> "csr_matrix":
    """Every row divided by the sum of its sizes, so that long and loud samples weigh as much as others; zeros stay."""
    from scipy.sparse import diags

    total = np.asarray(abs(z).sum(1)).ravel()
    return (diags(1.0 / np.where(total > 0, total, 1.0)) @ z).tocsr()


def likeness(z: "csr_matrix", prototype: np.ndarray, metric: str = "jaccard") -> np.ndarray:
    """Similarity of each row to a prototype [latents].

    "jaccard": ``sum_i min(z_i, t_i) / sum_i max(z_i, t_i)``, where ``sum max = sum z + sum t - sum min``, so that shared zeros
    cost nothing and say nothing; codes must not be negative. "cosine": ``z . t / |z| |t|``. Rows of zeros have similarity 0.
    """
    if metric not in METRICS:
        raise UsageError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}.")
    if metric == "cosine":
        size = np.sqrt(np.asarray(z.multiply(z).sum(1)).ravel()) * np.linalg.norm(prototype)
        return np.asarray(z @ prototype).ravel() / np.where(size > 0, size, 1.0)
    if (len(z.data) and z.data.min() < 0) or prototype.min(initial=0.0) < 0:
        raise UsageError("codes are negative, so they have no weighted Jaccard similarity; use metric='cosine'.")
    least = z.copy()
    least.data = np.minimum(z.data, prototype[z.indices])
    low, high = np.asarray(least.sum(1)).ravel(), np.asarray(z.sum(1)).ravel() + prototype.sum()
    return low / np.where(high - low > 0, high - low, 1.0)


def diverse(z: "csr_matrix", score: np.ndarray, count: int, weight: float, metric: str = "jaccard") -> np.ndarray:
    """Rows chosen one by one, each with the largest ``(1 - weight) score - weight (likeness to the most alike chosen one)``."""
    if weight == 0:
        return np.argsort(-score, kind="stable")[:count]
    nearest, chosen = np.zeros(len(score)), []
    left = score.astype(float).copy()
    for _ in range(count):
        best = int(np.argmax((1 - weight) * left - weight * nearest))
        chosen.append(best)
        left[best] = -np.inf
        nearest = np.maximum(nearest, likeness(z, np.asarray(z[best].todense()).ravel(), metric))
    return np.array(chosen)

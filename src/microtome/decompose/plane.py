"""A map of a dictionary: its directions as points of a plane, neighbours near each other."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.errors import Degenerate, MissingExtra, UsageError
from microtome.rng import derive

LAYOUTS = ("auto", "umap", "tsne", "pca")
#: Directions are first turned into so many coordinates: distances in hundreds of them are slow and say the same.
COORDINATES = 50


def plane(directions: Any, *, layout: str = "auto", seed: int = 0) -> Tensor:
    """Place directions in a plane by their cosines.

    Parameters
    ----------
    directions : Basis or Tensor[n, d]
        Only their directions count, not their lengths.
    layout : {"auto", "umap", "tsne", "pca"}
        UMAP where umap-learn is installed (``pip install 'microtome[map]'``), else t-SNE of scikit-learn; PCA keeps the two
        directions of largest variance. Default "auto".
    seed : int
        Default 0.

    Returns
    -------
    Tensor[n, 2]

    Raises
    ------
    MissingExtra
        When UMAP is asked for and not installed.
    Degenerate
        With fewer than three directions, or directions that are all alike.

    Notes
    -----
    Null: random directions make a round cloud. Clusters of UMAP and t-SNE are real neighbours; their sizes and the distances
    between them say little.
    Misleads when a shape is taken for geometry: test it, e.g. with `multi_dim_features`.

    Examples
    --------
    >>> ring = torch.arange(6) * torch.pi / 3
    >>> plane(torch.stack([ring.cos(), ring.sin(), 0 * ring], 1), layout="pca").shape
    torch.Size([6, 2])
    """
    if layout not in LAYOUTS:
        raise UsageError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}.")
    w = directions.directions if hasattr(directions, "directions") else directions
    x = torch.nn.functional.normalize(torch.as_tensor(w).detach().cpu().double(), dim=1)
    if len(x) < 3:
        raise Degenerate(f"a map needs at least three directions, got {len(x)}.")
    centred = x - x.mean(0)
    if not float(centred.abs().max()) > 1e-12:
        raise Degenerate("all directions are alike: there is nothing to map.")
    flat = _principal(centred, 2)
    if layout == "pca" or len(x) < 8:
        return flat
    umap = _umap(layout)
    few = (x if x.shape[1] <= COORDINATES else _principal(centred, COORDINATES)).numpy()
    state = derive(seed, "plane") % 2**32
    if umap is not None:
        near = min(15, len(x) - 1)
        made = umap.UMAP(n_neighbors=near, min_dist=0.1, metric="cosine", random_state=state, n_jobs=1).fit_transform(few)
    else:
        from sklearn.manifold import TSNE

        start = (flat / flat.std(0)[0] * 1e-4).numpy()
        near = min(30.0, (len(x) - 1) / 3)
        made = TSNE(perplexity=near, metric="cosine", init=start, random_state=state, n_jobs=1).fit_transform(few)
    return torch.from_numpy(np.asarray(made, dtype=np.float64))


def _principal(centred: Tensor, count: int) -> Tensor:
    """Coordinates along the directions of largest variance, each with the sign of its largest entry."""
    values, vectors = torch.linalg.eigh(centred.T @ centred)
    axes = vectors[:, values.argsort(descending=True)[:count]]
    if axes.shape[1] < count:
        axes = torch.cat([axes, torch.zeros(len(axes), count - axes.shape[1], dtype=axes.dtype)], 1)
    largest = axes.gather(0, axes.abs().argmax(0)[None])[0]
    return centred @ (axes * torch.where(largest < 0, -1.0, 1.0))


def _umap(layout: str) -> Any:
    """The library, or None where another one serves."""
    if layout == "tsne":
        return None
    try:
        import umap  # type: ignore[import-not-found]
    except ImportError:
        if layout == "umap":
            raise MissingExtra.of("umap-learn", "map") from None
        return None
    return umap

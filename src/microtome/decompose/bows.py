"""How correlated features share dimensions (bag-of-words superposition): interference that helps, and arrangement.

The network is the tied autoencoder ``z = x W``, ``x' = ReLU(z W^T + b)`` with a direction per feature as the rows of
``W[features, m]``; `microtome.organisms.superposition.train_on` trains it on any binary features. For independent features
interference is pure cost (`microtome.decompose.geometry`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from microtome.errors import Degenerate, ShapeError


@dataclass(frozen=True)
class Interference:
    """What the other features add to a feature's pre-activation, in mean over samples.

    Attributes
    ----------
    own : float
        ``||W_i||^2`` of the features that are active.
    on_active, on_inactive : float
        ``sum_(j active, j != i) W_i . W_j`` where feature i is active, and where it is not. Constructive interference is
        positive on active and not on inactive features.
    """

    own: float
    on_active: float
    on_inactive: float


def interference_split(directions: Tensor, x: Tensor) -> Interference:
    """Split pre-activations into a feature's own part and what the others add.

    Parameters
    ----------
    directions : Tensor[features, m]
        W.
    x : Tensor[n, features]
        Features of 0 and 1.

    Examples
    --------
    >>> w = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    >>> interference_split(w, torch.tensor([[1.0, 1.0, 0.0]]))
    Interference(own=1.0, on_active=1.0, on_inactive=-2.0)
    """
    w, x = _checked(directions, x)
    gram = w @ w.T
    others = x @ (gram - torch.diag(gram.diagonal()))
    active = x > 0
    if not bool(active.any()) or bool(active.all()):
        raise Degenerate("every feature is active in every sample, or none in any: there is nothing to split.")
    return Interference(
        float(gram.diagonal().expand_as(x)[active].mean()), float(others[active].mean()), float(others[~active].mean())
    )


def coactivation(x: Tensor) -> Tensor:
    """Correlation of features over samples, Tensor[features, features]; 0 for a feature that never changes."""
    centred = x.double() - x.double().mean(0)
    size = centred.norm(dim=0)
    unit = torch.where(size > 0, centred / size.clamp_min(1e-300), 0.0)
    return unit.T @ unit


def arrangement(directions: Tensor, similarity: Tensor) -> float:
    """Correlation, over pairs of features, of the cosine of their directions with a given similarity.

    Parameters
    ----------
    directions : Tensor[features, m]
    similarity : Tensor[features, features]
        `coactivation(x)`, or what a planted world says, e.g. ``cos(2 pi (i - j) / features)`` for features on a ring.

    Notes
    -----
    Null: the same autoencoder on features permuted one by one over the samples. With few dimensions chance is not 0.
    """
    if similarity.shape != (len(directions),) * 2:
        raise ShapeError(f"similarity must be [{len(directions)}, {len(directions)}], got {tuple(similarity.shape)}.")
    unit = torch.nn.functional.normalize(directions.double(), dim=1)
    upper = torch.triu_indices(len(unit), len(unit), 1)
    pairs = torch.stack([(unit @ unit.T)[tuple(upper)], similarity.double()[tuple(upper)]])
    if bool((pairs.std(1) < 1e-12).any()):
        raise Degenerate("all pairs of features are equally similar: there is no arrangement to compare.")
    return float(torch.corrcoef(pairs)[0, 1])


def _checked(directions: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    if directions.ndim != 2 or x.ndim != 2 or x.shape[1] != len(directions):
        found = f"{tuple(directions.shape)} and {tuple(x.shape)}"
        raise ShapeError(f"directions [features, m] and x [n, features] are needed, got {found}.")
    return directions.double(), x.double()

"""How correlated features share dimensions (bag-of-words superposition): interference that helps, and arrangement.

The network is the tied autoencoder ``z = x W``, ``x' = ReLU(z W^T + b)`` with a direction per feature as the rows of
``W[features, m]``; `microtome.organisms.superposition.train_on` trains it on any binary features. For independent features
interference is pure cost (`microtome.decompose.geometry`).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from microtome.decompose.given import matrix_of, require_draws
from microtome.errors import Degenerate, ShapeError
from microtome.evidence import Estimate, Finding, Null, Provenance
from microtome.method import Paper, method
from microtome.rng import torch_rng


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


@method(
    question="decompose",
    paper=Paper("Prieto et al.", 2025, "From Data Statistics to Feature Geometry: How Correlations Shape Superposition",
                "https://github.com/LucasPrietoAl/correlations-feature-geometry"),
    needs=("values", "basis"),
    gives="Finding",
    stochastic=True,
    cost="O((1 + draws) * n * features^2)",
    claim="Correlated features are arranged by their coactivation, so that interference adds to active features.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That the network needs the arrangement: train it on permuted features and compare.",
    tiny={"draws": 39},
)  # fmt: skip
def bows(directions: Any, features: Any, *, draws: int = 99, seed: int = 0) -> Finding:
    """Test whether correlated features are arranged so that their interference helps.

    A feature reads ``||W_i||^2`` of itself and ``sum_(j active, j != i) W_i . W_j`` of the others. The statistic is the mean of
    the latter where the feature is active, less its mean where it is not: above 0, others help to tell.

    Parameters
    ----------
    directions : Basis or Tensor[features, m]
        A direction per feature. `organisms.superposition.train_on` trains the paper's autoencoder.
    features : Tensor[n, features]
        Which features each sample has, 0 or 1 (words of a window in the paper).
    draws : int
        Permutations. Default 99.
    seed : int
        Of the permutations. Default 0.

    Returns
    -------
    Finding
        Table, a row per feature: feature, rate, own (its squared norm), on_active, on_inactive, gain. Controls: the arrangement
        (correlation over pairs of cosines with coactivations), and the means over all features.

    Raises
    ------
    UsageError
        When an argument is no matrix, or draws < 1.
    ShapeError
        When directions and features do not belong together.
    NonFinite
        When a value is NaN or infinite.
    Degenerate
        When a feature is on all samples or none, or all pairs are equally similar.

    Notes
    -----
    Null: each feature permuted over the samples by itself (how often each is active stays, correlations go), and the names of
    features permuted over directions (the geometry stays).
    Misleads when dimensions are few: any arrangement then has interference; and when the network was trained on
    other data.

    Examples
    --------
    >>> from microtome.stimuli.algorithmic import placed_features
    >>> angle = 2 * torch.pi * torch.arange(12) / 12
    >>> ring, words = torch.stack([angle.cos(), angle.sin()], 1), placed_features(400, 0, features=12).inputs
    >>> found = bows(ring, words, draws=39)
    >>> found.verdict, bool((found.table["gain"] > 0).all()), found.controls["arrangement"] > 0.8
    ('supported', True, True)

    References
    ----------
    Prieto et al. (2025). From Data Statistics to Feature Geometry: How Correlations Shape Superposition.
    https://github.com/LucasPrietoAl/correlations-feature-geometry
    """
    import pandas as pd

    require_draws(draws)
    w, x = _checked(matrix_of(directions, "directions", least=2), matrix_of(features, "features", least=2))
    x = (x > 0).double()
    rate = x.mean(0)
    if bool(((rate == 0) | (rate == 1)).any()):
        raise Degenerate(f"feature {int(((rate == 0) | (rate == 1)).int().argmax())} is active in every sample or in none.")
    gram = w @ w.T
    others = gram - torch.diag(gram.diagonal())
    g = torch_rng(seed, "decompose", "bows")
    observed = _gain(others, x)
    shuffled = [_gain(others, x.gather(0, torch.rand(x.shape, generator=g).argsort(0))) for _ in range(draws)]
    renamed = [_gain(others[turn][:, turn], x) for turn in (torch.randperm(len(w), generator=g) for _ in range(draws))]
    given = x @ others
    on, off = (given * x).sum(0) / x.sum(0), (given * (1 - x)).sum(0) / (1 - x).sum(0)
    split = interference_split(w, x)
    return Finding(
        "Interference between features helps: what others add is larger where a feature is active.",
        estimate=Estimate(observed, n=len(x), unit="squared norm", method="mean on active less mean on inactive features"),
        nulls=(
            Null("each feature permuted over samples", shuffled, observed),
            Null("features' names permuted", renamed, observed),
        ),
        controls={"arrangement": arrangement(w, coactivation(x)), "own": split.own, "on_active": split.on_active,
                  "on_inactive": split.on_inactive},
        table=pd.DataFrame({
            "feature": range(len(w)), "rate": rate.numpy(), "own": gram.diagonal().numpy(), "on_active": on.numpy(),
            "on_inactive": off.numpy(), "gain": (on - off).numpy(),
        }),
        provenance=Provenance(subject=getattr(directions, "subject", ""), seed=seed),
    )  # fmt: skip


def _gain(others: Tensor, x: Tensor) -> float:
    """Mean interference on active features less that on inactive ones."""
    given = x @ others
    return float((given * x).sum() / x.sum() - (given * (1 - x)).sum() / (1 - x).sum())


def _checked(directions: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    if directions.ndim != 2 or x.ndim != 2 or x.shape[1] != len(directions):
        found = f"{tuple(directions.shape)} and {tuple(x.shape)}"
        raise ShapeError(f"directions [features, m] and x [n, features] are needed, got {found}.")
    return directions.double(), x.double()

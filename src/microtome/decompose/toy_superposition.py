"""Who has a dimension and who shares one: the geometry of directions in superposition (Elhage et al. 2022)."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.decompose.geometry import POLYTOPES, dimensionality, dimensions_per_feature, interference, norms
from microtome.decompose.given import matrix_of, require_draws
from microtome.errors import Degenerate
from microtome.evidence import Estimate, Finding, Null, Provenance
from microtome.method import Paper, method
from microtome.rng import torch_rng

#: A direction shorter than this share of the longest is not represented.
ABSENT = 0.3


@method(
    question="decompose",
    paper=Paper("Elhage et al.", 2022, "Toy Models of Superposition",
                "https://transformer-circuits.pub/2022/toy_model/index.html"),
    needs=("values", "basis"),
    gives="Finding",
    stochastic=True,
    cost="O((1 + draws) * features^2 * m)",
    claim="Sparse features share dimensions as regular polytopes: each has 1/2, 2/3, 3/4, 2/5 or 3/8 of a dimension.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That the directions are the network's features: it judges those that are given.",
    tiny={"draws": 39},
)  # fmt: skip
def toy_superposition(directions: Any, *, draws: int = 199, seed: int = 0) -> Finding:
    """Tell dedicated, shared and absent directions apart, and test whether those that share form a regular polytope.

    ``D_i = ||W_i||^2 / sum_j (What_i . W_j)^2`` is the share of a dimension that feature i has; the statistic is the root mean
    square distance of the D_i from the nearest value of a regular arrangement (1, 3/4, 2/3, 1/2, 2/5, 3/8).

    Parameters
    ----------
    directions : Basis or Tensor[features, m]
        One row per feature: the columns of the paper's W, or the directions of a basis. `organisms.superposition` trains the
        paper's networks.
    draws : int
        Random sets of directions. Default 199.
    seed : int
        Of the draws. Default 0.

    Returns
    -------
    Finding
        Table, a row per feature: feature, norm, dimensionality, interference, polytope (the nearest), distance, state
        ("dedicated", "shared" or "absent": shorter than 0.3 of the longest). Controls: represented features, dimensions per
        feature, sum of D (at most m).

    Raises
    ------
    UsageError
        When `directions` is no matrix, or draws < 1.
    NonFinite
        When a direction is NaN or infinite.
    Degenerate
        When fewer than two directions are represented.

    Notes
    -----
    Null: random directions of the same norms. They share dimensions too, but at no fixed fractions.
    Misleads when features are many more than dimensions: the fractions then lie close together, and every D is near one.

    Examples
    --------
    >>> import math
    >>> angle = torch.arange(5) * 2 * math.pi / 5
    >>> pentagon = torch.stack([angle.cos(), angle.sin()], 1)
    >>> found = toy_superposition(pentagon, draws=39)
    >>> found.verdict, set(found.table["polytope"]), set(found.table["state"])
    ('supported', {'pentagon'}, {'shared'})

    References
    ----------
    Elhage et al. (2022). Toy Models of Superposition. https://transformer-circuits.pub/2022/toy_model/index.html
    """
    import pandas as pd

    require_draws(draws)
    w = matrix_of(directions, "directions", least=2)
    sizes = norms(w)
    present = sizes > ABSENT * sizes.max()
    if int(present.sum()) < 2 or not float(sizes.max()) > 0:
        raise Degenerate("fewer than two directions are represented: nothing can be shared.")
    share = dimensionality(w)
    gap, nearest = _nearest(share)
    g = torch_rng(seed, "decompose", "toy_superposition")
    sets = torch.nn.functional.normalize(torch.randn(draws, *w.shape, generator=g, dtype=w.dtype), dim=2) * sizes[:, None]
    chance = [_distance(dimensionality(random)[present]) for random in sets]
    names = list(POLYTOPES)
    dedicated = [names[i] == "dedicated" for i in nearest.tolist()]
    table = pd.DataFrame({
        "feature": range(len(w)), "norm": sizes.numpy(), "dimensionality": share.numpy(),
        "interference": interference(w).numpy(),
        "polytope": [names[i] for i in nearest.tolist()], "distance": gap.numpy(),
        "state": np.where(present.numpy(), np.where(dedicated, "dedicated", "shared"), "absent").tolist(),
    })  # fmt: skip
    return Finding(
        f"{int(present.sum())} features share {w.shape[1]} dimensions as regular polytopes.",
        estimate=Estimate(_distance(share[present]), n=int(present.sum()), unit="dimensions",
                          method="root mean square distance from the nearest polytope's share"),
        nulls=(Null("random directions of the same norms", chance, _distance(share[present]), alternative="less"),),
        controls={"represented": float(present.sum()), "dimensions_per_feature": dimensions_per_feature(w),
                  "sum_of_shares": float(share.sum())},
        table=table, provenance=Provenance(subject=getattr(directions, "subject", ""), seed=seed),
    )  # fmt: skip


def _nearest(share: Tensor) -> tuple[Tensor, Tensor]:
    """Distance of each share from the nearest polytope's, and which that is."""
    known = torch.tensor(list(POLYTOPES.values()), dtype=share.dtype)
    found = (share[:, None] - known).abs().min(1)
    return found.values, found.indices


def _distance(share: Tensor) -> float:
    return float(_nearest(share)[0].square().mean().sqrt())

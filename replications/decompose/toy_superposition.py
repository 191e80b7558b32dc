"""Elhage et al. (2022), Toy Models of Superposition: five features in two dimensions.

Dense features: the two most important get a dimension each, the rest are dropped. Sparse features: all five are kept,
as a regular pentagon in which each has two fifths of a dimension. A linear model does neither. Networks: h = W x,
x' = ReLU(W^T h + b), 24 trained in parallel, the one with the least loss kept. Nulls: weights as drawn before training,
and, for the geometry, the best 1% of 1,000 random sets of five directions with equal norms.

Equal shares of a dimension alone are a weak sign of a pentagon: about 2% of random sets have them to within 0.03.
The threshold is therefore 0.01.

https://transformer-circuits.pub/2022/toy_model/index.html
"""

from collections.abc import Callable

import torch
from torch import Tensor

from microtome.decompose.geometry import dimensionality, norms
from microtome.organisms.superposition.organism import train_instances
from microtome.replicate import Claim
from microtome.rng import torch_rng

CATALOG = ("decompose", 42)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 120
METHODS = ("microtome.decompose.geometry", "microtome.organisms.superposition.organism", "microtome.organisms.fit")
FEATURES, HIDDEN, INSTANCES, STEPS, DENSITY = 5, 2, 24, 1500, 0.1
DENSE_STEPS = 3000

CLAIMS = [
    Claim("dense features: the two most important are represented", "dense_second_norm", 0.9, null="start_second_norm"),
    Claim("dense features: no third feature is represented", "dense_third_norm", 0.2, "<=", null="start_third_norm"),
    Claim("sparse features: all five are represented", "sparse_smallest_norm", 0.8, null="dense_smallest_norm"),
    Claim("sparse features: neighbours stand 72 degrees apart", "angle_error", 5.0, "<=", null="random_angle_error"),
    Claim("sparse features: each has 2/5 of a dimension", "share_error", 0.01, "<=", null="random_share_error"),
    Claim("without the ReLU the angles are not regular", "linear_angle_spread", 20.0, null="sparse_angle_spread"),
    Claim("without the ReLU the loss is more than twice as large", "linear_loss_ratio", 2.0, null="second_loss_ratio"),
]


def run(seed: int) -> dict[str, float]:
    """Train the dense, the sparse and the linear networks, and measure the best of each."""
    importance = 0.9 ** torch.arange(FEATURES)
    dense, _ = trained(seed, density=1.0, importance=importance, steps=DENSE_STEPS)
    sparse, loss = trained(seed, density=DENSITY)
    linear, linear_loss = trained(seed, density=DENSITY, relu=False)
    _, second_loss = trained(seed + 1000, density=DENSITY)
    start = torch.randn(INSTANCES, FEATURES, HIDDEN, generator=torch_rng(seed, "start")) * FEATURES**-0.5
    random = torch.randn(1000, FEATURES, HIDDEN, generator=torch_rng(seed, "random"))
    random = torch.nn.functional.normalize(random, dim=-1)
    started = start.norm(dim=-1).sort(descending=True).values.median(0).values
    sizes = norms(dense).sort(descending=True).values
    return {
        "dense_second_norm": sizes[1], "dense_third_norm": sizes[2], "dense_smallest_norm": sizes[-1],
        "start_second_norm": started[1], "start_third_norm": started[2],
        "sparse_smallest_norm": norms(sparse).min(),
        "angle_error": angle_error(sparse), "random_angle_error": best_percent(angle_error, random),
        "share_error": share_error(sparse), "random_share_error": best_percent(share_error, random),
        "sparse_angle_spread": angles(sparse).std(), "linear_angle_spread": angles(linear).std(),
        "linear_loss_ratio": linear_loss / loss, "second_loss_ratio": second_loss / loss,
        "sparse_loss": loss, "linear_loss": linear_loss,
    }  # fmt: skip


def trained(seed: int, *, steps: int = STEPS, **settings) -> tuple[Tensor, float]:
    """Directions [features, hidden] and loss of the best of the instances."""
    w, _, loss = train_instances(FEATURES, HIDDEN, instances=INSTANCES, steps=steps, seed=seed, **settings)
    return w[0], float(loss[0])


def angles(w: Tensor) -> Tensor:
    """Degrees between neighbouring directions in the plane; they sum to 360."""
    turn = torch.atan2(w[:, 1], w[:, 0]).rad2deg().sort().values
    return torch.cat([turn.diff(), 360 + turn[:1] - turn[-1:]])


def angle_error(w: Tensor) -> float:
    """Largest distance of a neighbouring angle from that of the regular pentagon."""
    return float((angles(w) - 360 / FEATURES).abs().max())


def share_error(w: Tensor) -> float:
    """Largest distance of a feature's dimensionality from 2/5."""
    return float((dimensionality(w) - HIDDEN / FEATURES).abs().max())


def best_percent(measure: Callable[[Tensor], float], sets: Tensor) -> float:
    """The value below which 1% of the sets stay."""
    return float(torch.tensor([measure(w) for w in sets]).quantile(0.01))

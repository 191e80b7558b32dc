"""Sutter et al. (2025), The Non-Linear Representation Dilemma: with a powerful map any network implements any algorithm.

Hierarchical equality (see `das`), a trained ReLU network of width 32 and three re-drawn ones. A rotation of the first
hidden layer aligns with the trained network alone. A reversible network aligns with the re-drawn ones too, on fresh
vectors: its accuracy speaks of the map. So the verdict comes from selectivity, the gain over re-drawn networks: "supported"
for the rotation, "vacuous" for the reversible map.

Limits: width 32 (of width 16 the trained network does not hold the two variables apart in any layer, for a rotation); one
of the re-drawn networks carries the claim of the reversible map per seed, for time; 40,000 pairs to fit on.

The claim on re-drawn networks wants patience: the loss stays at that of a coin for some 1,500 updates and then falls. Six
blocks after the first layer's ReLU came to 0.80 on fresh pairs in 1,800 updates on 20,000 pairs, 0.79 in 2,200 on 40,000, 0.88
in 3,500. With 400 to 1,500 updates nothing left the plateau by much: 4 and 8 blocks, rates of 3e-3 to 1e-2, gradients clipped
at 0.3 and 1, branches that start four and eight times as large, the layers before their ReLU, vectors of two numbers.

https://arxiv.org/abs/2507.08802
"""

from functools import partial

import torch

import microtome as mt
from microtome.organisms.small import fit_classes, perceptron
from microtome.replicate import Claim
from microtome.stimuli.equality import equality_examples, equality_pairs
from microtome.trace import alignment_selectivity, das, interchange, localist_search, reversible_alignment

CATALOG = ("trace", 251)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 480
METHODS = (
    "microtome.trace.alignment_selectivity", "microtome.trace.reversible_alignment", "microtome.trace.alignment.revnet",
    "microtome.trace.das", "microtome.trace.alignment.fit", "microtome.trace.alignment.suffix",
)  # fmt: skip
WIDTH, SITE = 32, "1"
LINEAR = partial(das, size=WIDTH // 2, steps=1000, batch=256)
BIJECTION = partial(reversible_alignment, size=WIDTH // 2, blocks=6, width=64, steps=3500, lr=4e-3)

CLAIMS = [
    Claim("a rotation aligns with the trained network, fresh pairs", "linear_trained", 0.90, null="linear_redrawn"),
    Claim("and not with re-drawn ones", "linear_redrawn", 0.70, "<=", null="linear_trained"),
    Claim("a reversible network aligns with a re-drawn network, fresh pairs", "bijection_redrawn", 0.80,
          null="linear_redrawn"),
    Claim("selectivity of the rotation", "linear_selectivity", 0.25, null="bijection_selectivity"),
    Claim("selectivity of the reversible network", "bijection_selectivity", 0.20, "<=", null="linear_selectivity"),
    Claim("the verdict on the rotation is 'supported'", "linear_supported", 1.0, null="bijection_supported"),
    Claim("the verdict on the reversible network is 'vacuous'", "bijection_vacuous", 1.0, null="linear_vacuous"),
    Claim("largest error of the inverse, in float64", "inverse_error", 1e-4, "<=", null="inverse_error_truncated"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Fit both maps on the trained network and on re-drawn ones."""
    module = perceptron([16, WIDTH, WIDTH, WIDTH, 2], seed=seed)
    fit_classes(module, lambda step: equality_examples(1024, 100_000 * (seed + 1) + step), 1500, lr=1e-2, weight_decay=0.3)
    subject = mt.Subject(module)
    few, many = equality_pairs(10_000, seed), equality_pairs(80_000, seed)
    linear = alignment_selectivity(subject, few, site=SITE, fit=LINEAR, twins=3, seed=seed)
    powerful = alignment_selectivity(subject, many, site=SITE, fit=BIJECTION, twins=1, seed=seed)
    neurons = localist_search(subject, few[:1000], site=SITE, size=WIDTH // 2)
    h = subject.run(equality_examples(1000, seed)[0], record=[SITE])[SITE].double()
    z = powerful.basis.encode(h)
    return {
        "linear_trained": linear.trained.value, "linear_redrawn": max(linear.twins),
        "bijection_trained": powerful.trained.value, "bijection_redrawn": powerful.twins[0],
        "linear_selectivity": linear.selectivity.value, "bijection_selectivity": powerful.selectivity.value,
        "linear_supported": float(linear.verdict == "supported"), "linear_vacuous": float(linear.verdict == "vacuous"),
        "bijection_supported": float(powerful.verdict == "supported"),
        "bijection_vacuous": float(powerful.verdict == "vacuous"),
        "inverse_error": float((powerful.basis.decode(z) - h).abs().max()),
        "inverse_error_truncated": float((powerful.basis.decode(torch.round(z, decimals=1)) - h).abs().max()),
        "neurons_trained": interchange(subject, few[-1000:], neurons, random=1).estimate.value,
    }  # fmt: skip

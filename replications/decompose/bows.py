"""Prieto et al., From Data Statistics to Feature Geometry: How Correlations Shape Superposition.

Twelve binary features stand on a ring and are active near a hidden place on it. Tied ReLU autoencoders with two or four
dimensions arrange their directions in the order of the ring, so that interference adds to active features and takes from
inactive ones; weight decay strengthens this. Null: the same features, each permuted over the samples (densities kept,
correlations gone). The control without ReLU spans the plane of the principal components. All figures are means over sixteen
runs, each with data, permutations and a start of its own.

One run of each on the seeds 0, 1, 2 was reported before: the gain by weight decay (0.10 to 0.14) did not clear its null, whose
gains were 0.03 to 0.12. A gain of permuted features is noise: over 32 runs on two other seeds its mean was -0.014 (standard
deviation 0.08, range -0.17 to 0.17) where that of the ring was 0.13 (0.02). So both are means over runs now, which is the one
change since, and the threshold is 0.06 on every seed where it was 0.02 on the median.

Limits. Twelve features in four dimensions; text is not tried.

https://github.com/LucasPrietoAl/correlations-feature-geometry (code; the number of the preprint was not checked)
"""

import math
from statistics import fmean as mean

import torch
from torch import Tensor

from microtome.decompose import pca
from microtome.decompose.bows import arrangement, interference_split
from microtome.organisms.superposition import train_many
from microtome.replicate import Claim
from microtome.rng import derive
from microtome.stimuli.algorithmic import placed_features
from microtome.subject.recording import Recording

CATALOG = ("decompose", 256)
SEEDS = (30, 31, 32)
BUDGET_SECONDS = 60
METHODS = ("microtome.decompose.bows", "microtome.organisms.superposition.many",
           "microtome.stimuli.algorithmic.bags")  # fmt: skip
FEATURES, ROWS, STEPS, RUNS = 12, 6000, 700, 16

CLAIMS = [
    Claim("two dimensions: cosines follow the ring", "ring_2", 0.9, null="shuffled_ring_2"),
    Claim("four dimensions: cosines follow the ring", "ring_4", 0.55, null="shuffled_ring_4"),
    Claim("others add more to active than to inactive features", "constructive", 0.3, null="shuffled_constructive"),
    Claim("others take from inactive features", "on_inactive", 0.0, "<=", null="shuffled_on_inactive"),
    Claim("weight decay strengthens the arrangement (gain at four dimensions)", "decay_gain", 0.06, null="shuffled_decay_gain"),
    Claim("without the ReLU, directions lie in the principal plane (share of their squared norm)", "linear_in_plane", 0.95,
          null="shuffled_in_plane"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Train on correlated and on permuted features, with and without decay, and without the ReLU."""
    out: dict[str, float] = {}
    planes: list[Tensor] = []
    for name, shape in {"": "circle", "shuffled_": "independent"}.items():
        drawn = (placed_features(ROWS, derive(seed, "run", i), features=FEATURES, shape=shape) for i in range(RUNS))
        x = torch.stack([stimuli.inputs for stimuli in drawn])
        found = {m: train_many(x, m, steps=STEPS, seed=seed)[0] for m in (2, 4)}
        decayed, _ = train_many(x, 4, steps=STEPS, seed=seed, weight_decay=1.0)
        out |= {f"{name}ring_{m}": order(w) for m, w in found.items()}
        out[f"{name}decay_gain"] = order(decayed) - out[f"{name}ring_4"]
        splits = [interference_split(w, rows) for w, rows in zip(found[4], x, strict=True)]
        for part in ("on_active", "on_inactive"):
            out[name + part] = mean([getattr(split, part) for split in splits])
        out[f"{name}constructive"] = out[f"{name}on_active"] - out[f"{name}on_inactive"]
        if not name:
            planes = [pca(Recording.of(rows, site="words"), components=2).directions for rows in x]
        linear, _ = train_many(x, 2, steps=STEPS, seed=seed, relu=False)
        share = mean([in_plane(w, plane) for w, plane in zip(linear, planes, strict=True)])
        out["linear_in_plane" if not name else "shuffled_in_plane"] = share
    return out


def order(directions: Tensor) -> float:
    """How far cosines follow the ring, mean over the runs [runs, features, m]."""
    i = torch.arange(FEATURES)
    ring = torch.cos(2 * math.pi * (i[:, None] - i) / FEATURES)
    return mean([arrangement(w, ring) for w in directions])


def in_plane(w: Tensor, plane: Tensor) -> float:
    """Share of the squared norm of W [features, m] (columns: what each dimension reads) within a plane of feature space."""
    return float((plane @ w).square().sum() / w.square().sum())

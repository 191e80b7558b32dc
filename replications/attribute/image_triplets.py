"""Piriyajitakonkij et al. (2024), What Makes a Face Look like a Hat: triplets that decouple low-level and high-level likeness.

400 pictures of four shapes, whose skin (colour and texture) goes with the shape (Cramer's V 0.8). Low: the first layer of the
shipped network that names shapes, mean over places; high: its last layer before the classes. Over 300 selected triplets the two
differences are uncorrelated, while over random ones they go together; measured again at the layers next to these they stay less
correlated. Simulated observers who choose by shape alone are found out: their weight of the high level is above 0, and that of
the low level mostly has 0 in its interval, which is wider with random triplets. Held-out choices are foreseen better by the
network's last layer than by that of an untrained one.

Limits: observers are simulated and pictures generated; nothing is shown of people, CORnet-S, VGG-16 or Brain-Score. As ranks
keep the spread of the differences, the interval widens by their correlation alone, 1 / sqrt(1 - r^2).

https://arxiv.org/abs/2409.02241
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.special import expit

import microtome as mt
from microtome.attribute import Triplets, image_triplets
from microtome.attribute.choices import held_out
from microtome.evidence import paired_bootstrap
from microtome.replicate import Claim
from microtome.rng import rng
from microtome.stimuli.vision import entangled
from microtome.subject.recording import Recording

CATALOG = ("attribute", 73)
SEEDS = (0, 1, 2, 3, 4)
BUDGET_SECONDS = 60
METHODS = ("microtome.attribute.image_triplets", "microtome.attribute.triplets", "microtome.attribute.choices")
LOW, HIGH, NEAR, OBSERVERS, STEEP, SETS = "relu1", "relu4", ("relu2", "relu3"), 30, 2.0, 3

CLAIMS = [
    Claim("correlation of low and high difference over selected triplets", "selected", 0.1, "<=", null="random"),
    Claim("the same at the neighbouring layers, less that over random triplets", "again", -0.15, "<=", null="again_random"),
    Claim("share of shape observers whose weight of the high level is above 0", "high_above", 0.9, null="high_above_skin"),
    Claim("share of shape observers whose weight of the low level has 0 in its interval", "low_covers", 0.8,
          null="low_covers_skin"),
    Claim("interval of that weight with random triplets, relative to selected ones", "wider", 1.2,
          null="wider_random", over="median"),
    Claim("held-out log-likelihood per choice, last layer less that of an untrained network, lower end", "gain", 0.02,
          null="gain_permuted"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Select triplets, let observers choose, fit their choices."""
    subject, shown = mt.load("organism:vision-cnn"), entangled(400, seed)
    seen = subject.record(shown, [LOW, *NEAR, HIGH], positions="mean")
    blank = subject.twin("reinit", seed=seed).record(shown, [HIGH], positions="mean")
    found = image_triplets(seen, low=LOW, high=HIGH, seed=seed)
    sets = [image_triplets(seen, low=LOW, high=HIGH, seed=seed + 1000 * k).random for k in range(1, 2 * SETS + 1)]
    shape, skin = (shown.table[name].to_numpy() for name in ("shape", "skin"))
    by_shape, by_skin = (fits(found, observers(found, kind, seed)) for kind in (shape, skin))
    plain = [fits(t, observers(t, shape, seed)) for t in sets]
    one, *widths = (np.mean([low.high - low.low for _, low in some]) for some in (by_shape, *plain))
    once, *others = (abs(again(t, seen)) for t in (found, *sets))
    half = lambda values: (float(np.mean(values[:SETS])), float(np.mean(values[SETS:])))  # noqa: E731
    (width, width_other), (before, before_other) = half(widths), half(others)
    choices = observers(found, shape, seed)
    mixed = [rng(seed, "mixed", i).permutation(c) for i, c in enumerate(choices)]
    return {
        "selected": abs(found.correlation), "random": abs(found.random.correlation),
        "again": once - before, "again_random": before_other - before,
        "high_above": share(h.low > 0 for h, _ in by_shape), "high_above_skin": share(h.low > 0 for h, _ in by_skin),
        "low_covers": share(low.low <= 0 <= low.high for _, low in by_shape),
        "low_covers_skin": share(low.low <= 0 <= low.high for _, low in by_skin),
        "low_covers_shape_random_triplets": share(low.low <= 0 <= low.high for _, low in plain[0]),
        "wider": width / float(one), "wider_random": width / width_other,
        "gain": gain(found, seen[HIGH], blank, choices, seed), "gain_permuted": gain(found, seen[HIGH], blank, mixed, seed),
        "again_selected": once, "conflict": float((found.low * found.high < 0).mean()),
    }  # fmt: skip


def observers(triplets: Triplets, kind: np.ndarray, seed: int) -> list[np.ndarray]:
    """Choices of observers who prefer the image of the root's kind, not without error."""
    root, first, second = (kind[column] for column in triplets.images.T)
    p = expit(STEEP * ((root == first).astype(float) - (root == second)))
    return [rng(seed, "observer", i).random(len(p)) < p for i in range(OBSERVERS)]


def fits(triplets: Triplets, choices: list[np.ndarray]) -> list[tuple[Any, Any]]:
    """Weights of the high and the low level, per observer."""
    found = [triplets.fit(c, draws=1) for c in choices]
    return [(f.estimate, f.controls["low"]) for f in found]


def again(triplets: Triplets, seen: Recording) -> float:
    """Correlation of the differences measured at the neighbouring layers."""
    return float(np.corrcoef(*(triplets.differences(seen[site]) for site in NEAR))[0, 1])


def gain(triplets: Triplets, one: Recording, two: Recording, choices: list[np.ndarray], seed: int) -> float:
    """Lower end of the interval over triplets of the mean gain in log-likelihood, `one` over `two`."""
    d = [triplets.differences(r)[:, None] for r in (one, two)]
    logs = [np.mean([held_out(x, c, seed=seed) for c in choices], axis=0) for x in d]
    return paired_bootstrap(*logs, seed=seed).low  # type: ignore[return-value]


def share(found: Iterable[bool]) -> float:
    return float(np.mean(list(found)))

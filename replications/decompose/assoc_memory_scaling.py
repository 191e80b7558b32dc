"""Cabannes, Dohmatob, Bietti (2023), Scaling Laws for Associative Memories.

Inputs with Zipf frequencies are stored in one matrix with random embeddings. The error falls with the dimension as
d^-(alpha - 1) when only the most frequent d / 8 inputs are stored, and as d^-((alpha - 1) / (2 alpha)) when inputs are
stored in proportion to their frequency; storing all alike overflows. With few samples the error falls as T^-(1 - 1 / alpha).
Means of 16 draws of the embeddings, slopes of logarithms. Nulls: the other scheme's slope, and outputs permuted after storing.

https://arxiv.org/abs/2310.02984
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from microtome.decompose.associative import embeddings, recall_error, store, zipf
from microtome.replicate import Claim
from microtome.rng import rng

CATALOG = ("decompose", 170)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 60
METHODS = ("microtome.decompose.associative",)
INPUTS, CLASSES, DRAWS, WIDTHS = 1000, 5, 16, (16, 32, 64, 128, 256)

CLAIMS = [
    Claim("alpha 2, most frequent only: slope within 0.2 of -1", "top_slope_error_2", 0.2, "<=", null="weighted_from_top_2"),
    Claim("alpha 2, weighted by frequency: slope within 0.1 of -1/4", "weighted_slope_error_2", 0.1, "<=",
          null="top_from_weighted_2"),
    Claim("alpha 1.5, most frequent only: slope within 0.15 of -1/2", "top_slope_error_1.5", 0.15, "<=",
          null="weighted_from_top_1.5"),
    Claim("alpha 1.5, weighted by frequency: slope within 0.1 of -1/6", "weighted_slope_error_1.5", 0.1, "<=",
          null="top_from_weighted_1.5"),
    Claim("storing all alike overflows: error at d = 256", "alike_error", 0.3, null="top_error"),
    Claim("few samples: slope within 0.15 of -1/2", "sample_slope_error", 0.15, "<=", null="alike_slope_error"),
    Claim("outputs permuted after storing: error near chance", "permuted_error", 0.6, null="top_error"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Slopes of both schemes at two exponents, overflow, and the slope in the number of samples."""
    out: dict[str, float] = {}
    for alpha in (2.0, 1.5):
        p, wanted = zipf(INPUTS, alpha), {"top": 1 - alpha, "weighted": (1 - alpha) / (2 * alpha)}
        first = torch.arange(INPUTS)
        schemes = {"top": lambda d: (first < d // 8).double(), "weighted": lambda d: p}  # noqa: B023
        slopes = {name: slope(WIDTHS, [mean_error(p, q, d, seed) for d in WIDTHS]) for name, q in schemes.items()}
        for name, other in (("top", "weighted"), ("weighted", "top")):
            out[f"{name}_slope_{alpha:g}"] = slopes[name]
            out[f"{name}_slope_error_{alpha:g}"] = abs(slopes[name] - wanted[name])
            out[f"{other}_from_{name}_{alpha:g}"] = abs(slopes[other] - wanted[name])
    p = zipf(INPUTS, 2.0)
    ones = lambda d: torch.ones(INPUTS, dtype=torch.float64)  # noqa: E731
    alike = [mean_error(p, ones, d, seed) for d in WIDTHS]
    samples = (10, 30, 100, 300, 1000)
    seen = [mean_error(p, lambda d, t=t: None, 512, seed, samples=t) for t in samples]
    return out | {
        "alike_error": alike[-1], "alike_slope_error": abs(slope(WIDTHS, alike) + 0.5),
        "top_error": mean_error(p, lambda d: (torch.arange(INPUTS) < d // 8).double(), 256, seed),
        "permuted_error": mean_error(p, lambda d: (torch.arange(INPUTS) < d // 8).double(), 256, seed, permuted=True),
        "sample_slope": slope(samples, seen), "sample_slope_error": abs(slope(samples, seen) + 0.5),
    }  # fmt: skip


def mean_error(
    p: Tensor, scheme: Callable[[int], Tensor | None], d: int, seed: int, *, samples: int = 0, permuted: bool = False
) -> float:
    """Recall error at dimension d, in mean over draws; with `samples`, of a memory of the inputs seen in so many draws."""
    errors = []
    for draw in range(DRAWS):
        g = rng(seed, "memory", d, samples, draw)
        e, u = embeddings(INPUTS, d, seed, "inputs", d, draw), embeddings(CLASSES, d, seed, "outputs", d, draw)
        classes = torch.from_numpy(g.integers(0, CLASSES, INPUTS))
        weights = scheme(d)
        if weights is None:
            weights = torch.zeros(INPUTS, dtype=torch.float64)
            weights[np.unique(g.choice(INPUTS, samples, p=p.numpy()))] = 1.0
        memory = store(e, u, classes, weights)
        errors.append(recall_error(memory, e, u.roll(1, 0) if permuted else u, classes, p))
    return float(np.mean(errors))


def slope(x, y) -> float:
    """Slope of log y against log x."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])

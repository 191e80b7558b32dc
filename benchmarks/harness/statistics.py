"""Medians, quartiles and paired ratios of timed rounds; comparison of outputs. Needs numpy only."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median and the two quartiles."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return {"median": float(middle), "low": float(low), "high": float(high)}


def paired_ratio(of: Sequence[float], against: Sequence[float]) -> dict[str, float]:
    """Median and quartiles of the ratio in each round; rounds are paired, so slow moments of the machine cancel."""
    return summary(np.asarray(of) / np.asarray(against))


def difference(mine: Path, reference: Path) -> float:
    """Largest absolute difference of two files of outputs, where both hold numbers; inf where they cannot be compared."""
    with np.load(mine) as a, np.load(reference) as b:
        if sorted(a.files) != sorted(b.files):
            return float("inf")
        return max(_difference(a[name], b[name]) for name in a.files)


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    if a.shape != b.shape:
        return float("inf")
    both = ~(np.isnan(a) | np.isnan(b))
    return float(np.abs(a[both] - b[both]).max()) if both.any() else float("inf")


def spread(path: Path) -> float:
    """Largest standard deviation among the outputs: a difference means something only beside it."""
    with np.load(path) as file:
        return max(float(np.nanstd(file[name])) for name in file.files)

"""Faithfulness over the sizes of circuits, with areas and intervals over prompts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from microtome.errors import Degenerate
from microtome.evidence import Estimate
from microtome.rng import rng
from microtome.trace.effects import EPSILON
from microtome.trace.share import share_of


class Curve:
    """Metric values [sizes, n] of circuits, of the whole model and of nothing [n]."""

    def __init__(self, kept: np.ndarray, whole: np.ndarray, none: np.ndarray, groups: np.ndarray) -> None:
        self.kept, self.whole, self.none, self.groups = kept, whole, none, groups
        span = float((whole - none).mean())
        if not abs(span) >= EPSILON:
            raise Degenerate(
                f"cutting every edge changes the metric by {span:.1e}: the corruption does not change the behaviour, or these "
                "edges do not carry it."
            )

    def area(self, sizes: Sequence[float], distance: bool, seed: int) -> Estimate:
        """CPR, or CMD for `distance`, with a percentile interval over resampled prompt groups."""
        codes = np.unique(self.groups, return_inverse=True)[1]
        count = int(codes.max()) + 1
        draws = rng(seed, "area").multinomial(count, np.full(count, 1 / count), size=999)[:, codes]
        weights = np.concatenate([np.ones((1, len(codes))), draws])
        below = weights @ (self.whole - self.none)
        below = np.where(np.abs(below) < 1e-12, np.nan, below)
        f = weights @ (self.kept - self.none).T / below[:, None]
        areas = np.trapezoid(np.abs(1 - f) if distance else f, sizes, axis=1)
        low, high = np.nanpercentile(areas[1:], [2.5, 97.5])
        value = float(areas[0])
        if count < 2:
            return Estimate(value, n=1, unit="area", method="one group of prompts: no interval")
        return Estimate(value, min(float(low), value), max(float(high), value), n=count, unit="area",
                        method="bootstrap over prompt groups")  # fmt: skip

    def rows(self, setting: dict[str, str], sizes: Sequence[float], masks: np.ndarray, seed: int) -> list[dict[str, Any]]:
        """One row of the card per size."""
        whole = self.whole - self.none
        each = (self.kept - self.none) / np.where(np.abs(whole) < EPSILON, np.nan, whole)
        out = []
        for size, mask, kept, ratio in zip(sizes, masks, self.kept, each):
            found = share_of(kept - self.none, whole, list(self.groups), seed)
            out.append({**setting, "size": size, "edges": int(mask.sum()), "ratio_of_means": found.value, "low": found.low,
                        "high": found.high, "mean_of_ratios": float(np.nanmean(ratio)) if np.isfinite(ratio).any() else np.nan,
                        "metric": float(kept.mean())})  # fmt: skip
        return out

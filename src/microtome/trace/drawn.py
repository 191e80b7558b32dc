"""Draws that the comparisons of this room share: means over resampled prompt groups, and accuracy as a metric."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.evidence import Estimate
from microtome.rng import rng
from microtome.subject.bind import Metric


def accurate(bound: Any) -> Metric:
    """The metric that is 1 where the answer is the most likely token and 0 elsewhere."""
    return Metric(_hits, bound.answers, bound.wrong, bound.metric.positions, "accuracy")


def as_accuracy(bound: Any) -> Any:
    """The same bound task with accuracy as its metric."""
    return replace(bound, metric=accurate(bound))


def _hits(logits: Tensor, answers: Tensor, wrong: Tensor) -> Tensor:
    hits = (logits.argmax(-1) == answers).to(logits.dtype)
    return torch.where(logits.isnan().any(-1), torch.nan, hits)  # a broken network is no wrong answer


def resampled_means(values: np.ndarray, groups: Sequence[int], draws: int, seed: int, *names: str) -> np.ndarray:
    """Means [draws, k] of values [k, n] when whole groups are drawn with replacement."""
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    count = int(codes.max()) + 1
    weights = rng(seed, *names).multinomial(count, np.full(count, 1 / count), size=draws)[:, codes].astype(float)
    return weights @ values.T / weights.sum(1, keepdims=True)


def estimated(value: float, spread: np.ndarray, n: int, unit: str, method: str) -> Estimate:
    """A value with the 95% interval of its bootstrap draws, which always holds the value itself."""
    low, high = np.percentile(spread, [2.5, 97.5])
    return Estimate(float(value), min(float(low), float(value)), max(float(high), float(value)), n=n, unit=unit, method=method)

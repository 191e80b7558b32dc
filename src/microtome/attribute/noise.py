"""Gradients at noisy copies of a site, copy by copy: what SmoothGrad and VarGrad summarise."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from microtome.errors import UsageError
from microtome.rng import torch_rng
from microtome.subject.edit import patch
from microtome.subject.gradients import gradients


def noisy_gradients(
    subject: Any, bound: Any, site: str, value: Tensor, noise: float, samples: int, seed: int
) -> Iterator[Tensor]:
    """d metric / d site at `samples` copies of the site with Gaussian noise, one after the other, each [n, ...].

    The noise has `noise` times the range of each example's values as standard deviation, and is the same for every example.

    Raises
    ------
    UsageError
        When `samples` is below 1 or `noise` is negative.
    """
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise UsageError(f"samples must be an int >= 1, got {samples!r}.")
    if not noise >= 0:
        raise UsageError(f"noise must be at least 0, got {noise!r}.")
    flat = value.flatten(1)
    spread = noise * (flat.amax(1) - flat.amin(1)).reshape(-1, *[1] * (value.ndim - 1))
    g = torch_rng(seed, "noisy gradients")
    for _ in range(samples):
        drawn = torch.randn(value.shape[1:], generator=g, dtype=torch.float64).to(value)
        _, grads, _ = gradients(subject, bound.inputs, [site], bound.metric, [patch(site, value + spread * drawn)])
        yield grads[site]

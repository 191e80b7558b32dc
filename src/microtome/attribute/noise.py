"""Gradients at noisy copies of a site, copy by copy: what SmoothGrad and VarGrad summarise."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.place import input_site, position_mask, token_texts
from microtome.errors import UsageError
from microtome.rng import torch_rng
from microtome.subject.edit import patch
from microtome.subject.gradients import differentiable, gradients


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


def noise_map(
    subject: Any, task: Any, method: str, summarise: Callable[[Iterator[Tensor]], Tensor], *, at: str | None,
    metric: str | None, noise: float, samples: int, seed: int,
) -> Attribution:  # fmt: skip
    """The attribution that `summarise` makes of the gradients at noisy copies of a site."""
    bound = subject.bind(task, metric=metric)
    name = subject.site(at or input_site(subject)).name
    run = subject.run(bound.inputs, record=[name], logits=bound.metric.where)
    differentiable(name, run[name])
    value = summarise(noisy_gradients(subject, bound, name, run[name], noise, samples, seed))
    return Attribution(
        value.cpu(), subject.site(name).axes_of(value), name, method, bound.metric(bound.metric.read(run.logits)).cpu(),
        None, 2 * samples + 1, position_mask(subject, bound.inputs, name, value), token_texts(subject, bound.inputs),
        subject.fingerprint(), task.fingerprint(),
        {"metric": bound.metric.name, "noise": noise, "samples": samples, "seed": seed},
    )  # fmt: skip

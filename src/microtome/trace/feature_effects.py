"""Indirect effects of the features and errors of dictionaries, by integrated gradients of one dictionary at a time."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from microtome.errors import Degenerate
from microtome.subject.edit import patch
from microtome.subject.gradients import gradients
from microtome.trace.effects import EPSILON
from microtome.trace.stations import Station


@dataclass(frozen=True, eq=False)
class Submodule:
    """One dictionary on all prompts.

    Attributes
    ----------
    station : Station
    gradient : Tensor[n, position, units]
        Of the metric at the site, averaged along the way to the corrupt input.
    change : Tensor[n, position, latents]
        Corrupt minus clean codes.
    error_change : Tensor[n, position, units]
    effect : Tensor[latents]
        Summed over positions, averaged over prompts.
    error_effect : Tensor[]
    active : Tensor[latents]
        Mean clean code over prompts, summed over positions.
    """

    station: Station
    gradient: Tensor
    change: Tensor
    error_change: Tensor
    effect: Tensor
    error_effect: Tensor
    active: Tensor


@dataclass(frozen=True, eq=False)
class Found:
    """All dictionaries, and the metric [n] on clean inputs."""

    parts: list[Submodule]
    metric: Tensor


def submodule_effects(subject: Any, bound: Any, places: list[Station], steps: int) -> Found:
    """Effects of all features, dictionary by dictionary.

    Raises
    ------
    Degenerate
        When clean and corrupt metrics do not differ.
    """
    sites = [s.reads for s in places]
    clean, corrupt = (subject.run(x, record=sites, logits="none") for x in (bound.inputs, bound.corrupt))
    values, _, _ = gradients(subject, bound.inputs, sites[:1], bound.metric)
    other, _, _ = gradients(subject, bound.corrupt, sites[:1], bound.metric)
    if abs(float((values - other).mean())) < EPSILON:
        raise Degenerate("clean and corrupt metrics do not differ: the corruption does not change the behaviour.")
    parts = []
    for station in places:
        x, y = clean[station.reads], corrupt[station.reads]
        total = torch.zeros_like(x)
        for k in range(steps):
            between = patch(station.reads, torch.lerp(x, y, (k + 0.5) / steps))
            total += gradients(subject, bound.inputs, [station.reads], bound.metric, [between])[1][station.reads]
        parts.append(_submodule(station, x.flatten(2), y.flatten(2), total.flatten(2) / steps))
    return Found(parts, values)


def _submodule(station: Station, x: Tensor, y: Tensor, gradient: Tensor) -> Submodule:
    basis, table = station.basis, station.writers[0].table.to(x)
    with torch.no_grad():
        z, change = basis.encode(x), basis.encode(y) - basis.encode(x)
    error = (y - x) - change @ table
    effect = (change * (gradient @ table.T)).sum(1).mean(0)
    error_effect = (error * gradient).sum((1, 2)).mean(0)
    return Submodule(station, gradient, change, error, effect, error_effect, z.sum(1).mean(0))

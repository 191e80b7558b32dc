"""Scores of all units for all properties at once."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.evidence import auroc


def unit_names(recording: Any) -> list[str]:
    """Names of the units of all sites of a recording, as `Unit` prints them."""
    names = []
    for site in recording.sites:
        width = int(np.prod(recording[site].shape[1:]))
        names += [f"{site}[{i}]" for i in range(width)]
    return names


def columns(recording: Any, rows: np.ndarray) -> np.ndarray:
    """Values [rows, units of all sites] of some rows."""
    parts = [_widened(recording[site].select(rows).matrix()).numpy() for site in recording.sites]
    return np.concatenate([p.reshape(len(p), -1) for p in parts], axis=1)


def _widened(matrix: Tensor) -> Tensor:
    """At least float32, which numpy knows; float64 stays, since rounding would tie values that differ."""
    return matrix.to(torch.promote_types(matrix.dtype, torch.float32))


def signed_auroc(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """AUROC [properties, units] of units for properties; below 0.5 means that the unit falls silent for the property."""
    return auroc(values, labels)


def weighted_auroc(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUROC [draws] of one score under row weights [draws, rows] (a bootstrap); ties count half.

    The chance that a positive row drawn by weight scores above a negative one.
    """
    order = np.argsort(scores, kind="stable")
    value, label, weight = scores[order], labels[order], weights[:, order]
    negative = np.cumsum(weight * ~label, axis=1)
    first = np.searchsorted(value, value, side="left")
    last = np.searchsorted(value, value, side="right") - 1
    below = np.where(first > 0, negative[:, np.maximum(first - 1, 0)], 0.0)
    tied = negative[:, last] - below
    positive = weight * label
    total = positive.sum(1) * negative[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return (positive * (below + 0.5 * tied)).sum(1) / total

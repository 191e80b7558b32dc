"""Circles: fit one to the mean states of an ordered set of values, patch it, and say how well an angle follows a value."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.decompose.clusters import principal
from microtome.decompose.data import one_site
from microtome.decompose.irreducible import MIN_ROWS, scaled
from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.subject.basis import Linear


def circle_basis(recording: Any, values: Any, *, period: int, components: int = 5, frequency: int = 1) -> Linear:
    """Two coordinates that read (cos, sin) of a cyclic value from a site, for patching a circle alone.

    The states of each value are averaged, reduced to `components` principal components, and mapped by least squares to
    ``(cos, sin)(2 pi frequency v / period)``. Writing uses the pseudo-inverse inside those components, so that
    `mt.swap(site, source, basis=circle)` changes the circle and nothing else.

    Parameters
    ----------
    recording : Recording
        One site, one row per value shown.
    values : array_like of int [rows]
    period : int
        Number of values in a turn.
    components : int
        Default and paper: 5; at most the number of values less one.
    frequency : int
        Turns of the circle per turn of the values. Default 1.

    Returns
    -------
    Linear
        Coordinates "cos" and "sin".

    Raises
    ------
    Degenerate
        When fewer than three values are shown, or their means do not vary in two dimensions.

    Notes
    -----
    Null: a circle can be fitted to any means once there are as many components as values: judge it by a patch, against
    a random plane.
    """
    site, subject = one_site(recording)
    x = recording.matrix().double()
    v = torch.as_tensor(np.asarray(values)).to(x.device)
    if v.shape != (len(x),):
        raise ShapeError(f"one value per row is needed: {len(x)} rows, values {tuple(v.shape)}.")
    if period < 3 or components < 2:
        raise UsageError(f"a circle needs period >= 3 and components >= 2, got {period} and {components}.")
    shown = v.unique()
    if len(shown) < 3:
        raise Degenerate(f"{len(shown)} values are shown; a circle needs three.")
    means = torch.stack([x[v == value].mean(0) for value in shown])
    offset = means.mean(0)
    scores, axes = principal(means, min(components, len(shown) - 1))
    if len(axes) < 2:
        raise Degenerate("the means of the values lie on a line.")
    angle = 2 * math.pi * frequency * shown.double() / period
    target = torch.stack([angle.cos(), angle.sin()], 1)
    readout = torch.linalg.lstsq(scores, target - target.mean(0)).solution  # [components, 2]
    encoder = (axes.T @ readout).to(recording.matrix().dtype)
    return Linear(site, encoder, None, offset.to(encoder), name="circle", names=["cos", "sin"], subject=subject)


def circular_agreement(cloud: Tensor, values: Any, *, period: int) -> float:
    """How well the angle of 2-d points follows a cyclic value: ``max over both senses of |mean exp(i (angle -+ 2 pi v / p))|``.

    Parameters
    ----------
    cloud : Tensor[n, 2]
        Its mean is its centre; coordinates are scaled to unit variance.
    values : array_like of int [n]
    period : int

    Notes
    -----
    Null: values that have nothing to do with the angle give about ``1 / sqrt(n)``.

    Examples
    --------
    >>> v = torch.arange(14) % 7
    >>> circular_agreement(torch.stack([(v * 2 * math.pi / 7).cos(), -(v * 2 * math.pi / 7).sin()], 1), v, period=7)
    1.0
    """
    y = scaled(cloud) if len(cloud) >= MIN_ROWS else (cloud - cloud.mean(0)).double().cpu().numpy()
    angle = np.arctan2(y[:, 1], y[:, 0])
    phase = 2 * math.pi * np.asarray(values) / period
    if phase.shape != angle.shape:
        raise ShapeError(f"{len(angle)} points need {len(angle)} values, got {phase.shape}.")
    return round(float(max(abs(np.exp(1j * (angle - s * phase)).mean()) for s in (1, -1))), 12)

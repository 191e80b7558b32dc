"""Infidelity: does a map foretell what a change of the input does to the output?"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.ends import counted, ends
from microtome.attribute.judge.places import explained
from microtome.attribute.masks import CHUNK_BYTES
from microtome.errors import ShapeError, SiteError, UsageError
from microtome.rng import torch_rng


def infidelity(
    subject: Any,
    task: Any,
    attribution: Attribution,
    *,
    noise: float | Tensor = 0.2,
    draws: int = 20,
    scaled: bool = False,
    metric: str | None = None,
    seed: int = 0,
) -> Tensor:
    """Mean squared error of the changes of the output that an attribution predicts [n]; lower is better.

    ``E_I ( sum I * A - (m(x) - m(x - I)) )^2``

    Parameters
    ----------
    subject : Subject
    task : Task
        The one that the attribution explains.
    attribution : Attribution
        With the axes of its site: the product is by cell.
    noise : float or Tensor[draws, n, ...], default 0.2
        Standard deviation of Gaussian changes I, as a share of the range of each example's site; or the changes themselves.
    draws : int, default 20
        Changes per example.
    scaled : bool, default False
        Multiply each map with the number that fits best, so that maps in other units can be compared.
    metric : str, optional
        Default: the one that was attributed.
    seed : int, default 0

    Returns
    -------
    Tensor[n]

    Raises
    ------
    SubjectMismatch, SiteError, ShapeError, UsageError

    Notes
    -----
    Null: a map of zeros has the mean squared change of the output.
    Misleads when the network is smooth on the scale of the noise: the gradient is then the best map of all.

    References
    ----------
    Yeh, Hsieh, Suggala, Inouye, Ravikumar (2019). On the (In)fidelity and Sensitivity of Explanations.
    https://arxiv.org/abs/1901.09392
    """
    explained(subject, task, attribution)
    e = ends(subject, task, at=attribution.site, baseline="zero", metric=metric or attribution.settings.get("metric"))
    if e.end.shape != attribution.values.shape:
        raise SiteError(
            f"infidelity multiplies cell by cell, but {attribution.method} gives {list(attribution.values.shape)} and "
            f"{e.site} is {list(e.end.shape)}."
        )
    change = changes(e.end, noise, draws, seed)
    room = max(1, CHUNK_BYTES // (e.end.numel() * e.end.element_size()))
    moved = torch.cat([e.measure(e.end - part) for part in change.split(room)])
    actual = e.output.double() - moved
    cells = tuple(range(2, change.ndim))
    foretold = (change.double().cpu() * attribution.values.double()).sum(cells)
    if scaled:
        foretold = foretold * ((foretold * actual).mean(0) / (foretold**2).mean(0).clamp(min=1e-300))
    return ((foretold - actual) ** 2).mean(0)


def changes(x: Tensor, noise: float | Tensor, draws: int, seed: int) -> Tensor:
    """Changes [draws, n, ...] of a site x [n, ...]: given, or Gaussian with `noise` of each example's range."""
    return shifts(x, noise, draws, partial(torch.randn, generator=torch_rng(seed, "changes"), dtype=torch.float64), "noise")


def shifts(x: Tensor, size: float | Tensor, draws: int, drawn: Callable[..., Tensor], name: str) -> Tensor:
    """What is added to x [n, ...], [draws, n, ...]: `size` itself where given, or `drawn` times that share of each range."""
    if isinstance(size, Tensor):
        if size.shape[1:] != x.shape:
            raise ShapeError(f"shapes do not fit: {name} {list(size.shape)} is not [draws, {', '.join(map(str, x.shape))}].")
        return size.to(x)
    counted("draws", draws)
    if not size > 0:
        raise UsageError(f"{name} must be above 0, got {size!r}.")
    return size * spread(x) * drawn((draws, *x.shape)).to(x)


def spread(x: Tensor) -> Tensor:
    """Range of each example's values, [n, 1, ...]."""
    flat = x.flatten(1)
    return (flat.amax(1) - flat.amin(1)).reshape(-1, *[1] * (x.ndim - 1))

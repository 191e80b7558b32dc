"""Rows of a recording from the sites of one batch: padding dropped, places of images laid out, truth aligned."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from microtome.errors import SiteError
from microtome.subject.inputs import Inputs
from microtome.subject.site import Site

if TYPE_CHECKING:
    from microtome.subject.record import Source


def to_rows(
    source: "Source", samples: range, inputs: Inputs, values: Mapping[Site, Tensor], positions: str
) -> tuple[dict[str, Tensor], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Rows of one batch: values by site [rows, ...features], index columns, labels."""
    tensors = {site.name: _rows_first(site, value) for site, value in values.items()}
    sample = np.arange(samples.start, samples.stop)
    once = {"sample": sample, "position": np.zeros(len(sample), dtype=np.int64)}
    if positions == "mean":
        tensors = {s.name: _mean(tensors[s.name], _row_kind(s, v), inputs) for s, v in values.items()}
        return tensors, once, _sample_labels(source, samples, inputs)
    kinds = {_row_kind(site, value): site for site, value in values.items()}
    if len(kinds) > 1:
        listed = ", ".join(f"{site.name} ({' x '.join(map(str, kind))})" for kind, site in kinds.items())
        raise SiteError(f"these sites do not share rows: {listed}. Record them apart, or with positions='mean'.")
    (kind,) = kinds
    if kind[0] == "sample":
        return tensors, once, _sample_masks(source, samples)
    if kind[0] == "place":
        if positions == "last":
            raise SiteError("positions='last' needs a position axis; these sites have places. Use 'all' or 'mean'.")
        _, height, width = kind
        y, x = np.divmod(np.arange(height * width), width)
        index = {"sample": sample.repeat(height * width), "y": np.tile(y, len(sample)), "x": np.tile(x, len(sample))}
        flat = {name: value.flatten(0, 2) for name, value in tensors.items()}
        return flat, index, _place_masks(source, samples, height, width)
    length = kind[1]
    frame = inputs.frame_of(next(iter(values))).fitted(len(sample), length)
    start, stop = frame.start, frame.stop
    column = torch.arange(length)
    keep = (column >= start[:, None]) & (column < stop[:, None])
    if positions == "last":
        keep &= column == stop[:, None] - 1
    at = keep.nonzero().numpy()
    index = {"sample": sample[at[:, 0]], "position": at[:, 1] - start.numpy()[at[:, 0]]}
    if inputs.ids is not None and inputs.ids.shape[1] == length:
        index["token"] = inputs.ids.cpu()[keep].numpy()
    labels: dict[str, np.ndarray] = {}
    if source.properties:
        truth = np.concatenate([source.token_labels(int(s), int(b - a))[index["position"][at[:, 0] == i]]
                                for i, (s, a, b) in enumerate(zip(sample, start, stop))])
        labels = {name: truth[:, j] for j, name in enumerate(source.properties)}
    keep = keep.to(next(iter(tensors.values())).device)
    return {name: value[keep] for name, value in tensors.items()}, index, labels


def _row_kind(site: Site, value: Tensor) -> tuple:
    axes = site.axes_of(value)
    if site.at == "pattern":
        raise SiteError(f"{site.name}: patterns are not recorded as rows; read them with subject.run(inputs, record=[...]).")
    if "y" in axes and "x" in axes:
        return ("place", value.shape[axes.index("y")], value.shape[axes.index("x")])
    for name in ("position", "time"):
        if name in axes:
            return ("position", value.shape[axes.index(name)])
    return ("sample",)


def _rows_first(site: Site, value: Tensor) -> Tensor:
    """Axes in the order sample, position or place, features."""
    axes = site.axes_of(value)
    lead = [axes.index(a) for a in ("batch", "position", "time", "y", "x") if a in axes]
    return value.permute(lead + [i for i in range(value.ndim) if i not in lead])


def _mean(value: Tensor, kind: tuple, inputs: Inputs) -> Tensor:
    if kind[0] == "sample":
        return value
    if kind[0] == "place":
        return value.mean(dim=(1, 2))
    if inputs.mask is None or inputs.mask.shape[1] != value.shape[1]:
        return value.mean(dim=1)
    mask = inputs.mask.to(value.device, value.dtype).reshape(*inputs.mask.shape, *[1] * (value.ndim - 2))
    return (value * mask).sum(dim=1) / mask.sum(dim=1)


def feature_axes(site: Site, shape: tuple[int, ...]) -> tuple[str, ...] | None:
    names = [a for a in site.axes if a not in ("batch", "position", "time", "y", "x")]
    return tuple(names) if len(names) == len(shape) else None


def _sample_labels(source: "Source", samples: range, inputs: Inputs) -> dict[str, np.ndarray]:
    """A sample has a property when any of its tokens or pixels has it."""
    if not source.properties:
        return _sample_masks(source, samples)
    lengths = inputs.lengths.tolist()
    truth = np.stack([source.token_labels(s, int(n)).any(axis=0) for s, n in zip(samples, lengths)])
    return {name: truth[:, j] for j, name in enumerate(source.properties)}


def _sample_masks(source: "Source", samples: range) -> dict[str, np.ndarray]:
    masks = getattr(source.stimuli, "masks", None) or {}
    return {k: v[samples.start : samples.stop].reshape(len(samples), -1).any(1).numpy() for k, v in masks.items()}


def _place_masks(source: "Source", samples: range, height: int, width: int) -> dict[str, np.ndarray]:
    """A place has a property when at least half of its pixels have it."""
    masks = getattr(source.stimuli, "masks", None) or {}
    pool = torch.nn.functional.adaptive_avg_pool2d
    return {k: (pool(v[samples.start : samples.stop, None].float(), (height, width)) >= 0.5).flatten().numpy()
            for k, v in masks.items()}

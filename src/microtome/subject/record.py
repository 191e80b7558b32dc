"""From a subject and data to a recording: batches of forwards, rows of real tokens (or places), truth aligned to rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from microtome.errors import Degenerate, SiteError, UsageError
from microtome.subject.inputs import Inputs, as_inputs
from microtome.subject.site import Site
from microtome.subject.tokens import offsets

if TYPE_CHECKING:
    from microtome.subject.recording import Recording
    from microtome.subject.subject import Subject

POSITIONS = ("all", "last", "mean")
#: Samples per forward unless told: enough to fill two cores, small enough for a laptop.
BATCH_TEXT, BATCH_TENSOR = 32, 64


def record(
    subject: "Subject",
    data: Any,
    sites: Sequence[str],
    *,
    positions: str = "all",
    batch: int | None = None,
    to: str | Path | None = None,
    dtype: torch.dtype | None = None,
) -> "Recording":
    """See `Subject.record`."""
    from microtome.engine import progress, shrink_on_oom
    from microtome.subject.recording import MemoryWriter, Plan, ShardWriter

    if positions not in POSITIONS:
        raise UsageError(f"positions must be one of {POSITIONS}, got {positions!r}.")
    chosen = [subject.site(s) for s in ([sites] if isinstance(sites, str) else sites)]
    if not chosen:
        raise UsageError("record needs at least one site; see subject.sites().")
    source = _Source(subject, data)
    size = batch or (BATCH_TEXT if source.texts is not None else BATCH_TENSOR)

    def rows_of(samples: range) -> tuple[dict[str, Tensor], dict[str, np.ndarray], dict[str, np.ndarray]]:
        inputs = source.batch(samples)
        run = subject.run(inputs, record=[s.name for s in chosen], logits="none")
        return to_rows(source, samples, inputs, {s: run[s.name] for s in chosen}, positions)

    first, _, _ = rows_of(range(min(size, len(source))))
    shapes = {name: tuple(v.shape[1:]) for name, v in first.items()}
    per_sample = len(next(iter(first.values()))) / min(size, len(source))
    plan = Plan.of(
        shapes,
        rows=int(np.ceil(per_sample * len(source))),
        dtype=dtype or next(iter(first.values())).dtype,
        axes={s.name: _feature_axes(s, shapes[s.name]) for s in chosen},
        provenance=source.provenance(positions),
    )
    writer = MemoryWriter(plan) if to is None else ShardWriter(to, plan)
    try:
        begin = getattr(writer, "next_sample", 0) // size * size
        if not getattr(writer, "finished", False):
            with progress(len(source), "recording") as advance:

                def commit(samples: range) -> None:
                    values, index, labels = rows_of(samples)
                    writer.add(values, index, labels)
                    advance(len(samples))

                shrink_on_oom(commit, range(begin, len(source)), size)
        return writer.finish(source.table)
    finally:
        if isinstance(writer, ShardWriter):
            writer.close()


class _Source:
    """The data as batches of inputs, with its truth."""

    def __init__(self, subject: "Subject", data: Any) -> None:
        self.subject = subject
        self.stimuli = data if hasattr(data, "spans") else None
        inner = getattr(data, "inputs", data) if self.stimuli is not None else data
        inner = [inner] if isinstance(inner, str) else inner
        self.texts = list(inner) if isinstance(inner, Sequence) and not isinstance(inner, Tensor) else None
        self.tensors: Inputs | Tensor | None = None
        if self.texts is None:
            self.tensors = inner if isinstance(inner, (Tensor, Inputs)) else as_inputs(inner)
        if not len(self):
            raise Degenerate("there is nothing to record: the data is empty.")
        self.spans: Mapping[int, np.ndarray] = {}
        self.properties: list[str] = []
        if self.stimuli is not None and self.texts is not None and len(self.stimuli.spans):
            self.properties = sorted(set(self.stimuli.spans["property"]))
            frame = self.stimuli.spans
            self._start, self._end = frame["start"].to_numpy(), frame["end"].to_numpy()
            self._property = frame["property"].map({p: i for i, p in enumerate(self.properties)}).to_numpy()
            self.spans = frame.groupby("sample", sort=False).indices

    def __len__(self) -> int:
        return len(self.texts if self.texts is not None else self.tensors)  # type: ignore[arg-type]

    @property
    def table(self):
        """One row per sample, or None."""
        return None if self.stimuli is None else self.stimuli.table

    def batch(self, samples: range) -> Inputs:
        """Inputs of some samples."""
        part = slice(samples.start, samples.stop)
        if self.texts is not None:
            return self.subject.tokens(self.texts[part])
        return self.subject.inputs(self.tensors[part])  # type: ignore[index]

    def token_labels(self, sample: int, length: int) -> np.ndarray:
        """Truth [length, properties]: which tokens overlap a span of each property."""
        found = np.zeros((length, len(self.properties)), dtype=bool)
        rows = self.spans.get(sample)
        if rows is not None:
            places = np.array(offsets(self.subject.tokenizer, self.texts[sample], length))  # type: ignore[index]
            real = places[:, 1] > places[:, 0]
            overlap = (places[:, :1] < self._end[rows]) & (places[:, 1:] > self._start[rows]) & real[:, None]
            for j, r in enumerate(rows):
                found[:, self._property[r]] |= overlap[:, j]
        return found

    def provenance(self, positions: str) -> dict[str, Any]:
        """What the rows depend on: fingerprints of subject, tokenizer and data, and versions."""
        from microtome import __version__
        from microtome.io import dump_json, hash_bytes, hash_tensors
        from microtome.subject.fingerprint import tokenizer_fingerprint

        if self.stimuli is not None:
            data = self.stimuli.fingerprint()
        elif self.texts is not None:
            data = hash_bytes(dump_json(self.texts))
        else:
            tensors = self.tensors.tensors if isinstance(self.tensors, Inputs) else {"": self.tensors}
            data = hash_tensors({k or "input": v.detach().cpu().contiguous() for k, v in tensors.items()})
        return {
            "subject": self.subject.fingerprint(),
            "subject_name": self.subject.name,
            "tokenizer": tokenizer_fingerprint(self.subject.tokenizer),
            "data": data,
            "positions": positions,
            "versions": {"microtome": __version__, "torch": torch.__version__},
        }


def to_rows(
    source: _Source, samples: range, inputs: Inputs, values: Mapping[Site, Tensor], positions: str
) -> tuple[dict[str, Tensor], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Rows of one batch: values by site [rows, ...features], index columns, labels."""
    tensors = {site.name: _rows_first(site, value) for site, value in values.items()}
    sample = np.arange(samples.start, samples.stop)
    once = {"sample": sample, "position": np.zeros(len(sample), dtype=np.int64)}
    if positions == "mean":
        tensors = {s.name: _mean(tensors[s.name], _row_kind(s, v), inputs) for s, v in values.items()}
        return tensors, once, _sample_masks(source, samples)
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


def _feature_axes(site: Site, shape: tuple[int, ...]) -> tuple[str, ...] | None:
    names = [a for a in site.axes if a not in ("batch", "position", "time", "y", "x")]
    return tuple(names) if len(names) == len(shape) else None


def _sample_masks(source: _Source, samples: range) -> dict[str, np.ndarray]:
    masks = getattr(source.stimuli, "masks", None) or {}
    return {k: v[samples.start : samples.stop].reshape(len(samples), -1).any(1).numpy() for k, v in masks.items()}


def _place_masks(source: _Source, samples: range, height: int, width: int) -> dict[str, np.ndarray]:
    """A place has a property when at least half of its pixels have it."""
    masks = getattr(source.stimuli, "masks", None) or {}
    pool = torch.nn.functional.adaptive_avg_pool2d
    return {k: (pool(v[samples.start : samples.stop, None].float(), (height, width)) >= 0.5).flatten().numpy()
            for k, v in masks.items()}

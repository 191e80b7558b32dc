"""From a subject and data to a recording: batches of forwards, rows of real tokens (or places), truth aligned to rows."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from microtome.errors import Degenerate, UsageError
from microtome.subject.inputs import Inputs, as_inputs
from microtome.subject.rows import feature_axes, to_rows
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
    source = Source(subject, data)
    size = (BATCH_TEXT if source.texts is not None else BATCH_TENSOR) if batch is None else batch
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise UsageError(f"batch must be an int >= 1, got {batch!r}.")

    def rows_of(samples: range) -> tuple[dict[str, Tensor], dict[str, np.ndarray], dict[str, np.ndarray]]:
        inputs = source.batch(samples)
        run = subject.run(inputs, record=[s.name for s in chosen], logits="none")
        return to_rows(source, samples, inputs, {s: run[s.name] for s in chosen}, positions)

    # Two samples tell the shapes; two, so that a failed allocation has a smaller batch to fall back to.
    few = shrink_on_oom(rows_of, range(min(2, len(source))), 2)[0]
    first, samples = few[0][0], set().union(*(index["sample"].tolist() for _, index, _ in few))
    shapes = {name: tuple(v.shape[1:]) for name, v in first.items()}
    rows = sum(len(index["sample"]) for _, index, _ in few) / max(1, len(samples))
    plan = Plan.of(
        shapes,
        rows=math.ceil(rows * source.longer(len(samples), size, positions) * len(source)),
        dtype=dtype or next(iter(first.values())).dtype,
        axes={s.name: feature_axes(s, shapes[s.name]) for s in chosen},
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


class Source:
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

    def longer(self, few: int, many: int, positions: str) -> float:
        """How much longer the first `many` samples are than the first `few`, where a sample has a row per token."""
        if positions != "all" or self.texts is None:
            return 1.0
        lengths = self.batch(range(min(many, len(self)))).lengths.double()
        return float(lengths.mean() / lengths[:few].mean())

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

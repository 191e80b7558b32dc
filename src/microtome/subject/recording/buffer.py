"""Rows on their way into shards of a fixed size, and rows kept in memory."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from microtome.errors import UsageError
from microtome.subject.recording import columns
from microtome.subject.recording.checks import check_finite
from microtome.subject.recording.plan import BUFFERS, Plan

if TYPE_CHECKING:
    import pandas as pd

    from microtome.subject.recording.recording import Recording


class Shard(NamedTuple):
    """Rows ready to be written: values by site, index and label columns."""

    rows: int
    values: dict[str, Tensor]
    columns: dict[str, np.ndarray]
    memory: dict[str, Tensor]


class Buffer:
    """Cuts batches of any size into shards of `plan.shard_rows` rows, converts dtypes, refuses NaN."""

    def __init__(self, plan: Plan, first_row: int = 0) -> None:
        self._plan, self._first = plan, first_row
        self._free: queue.Queue[dict[str, Tensor]] = queue.Queue(BUFFERS)
        self._memory: dict[str, Tensor] | None = None
        self._filled = 0
        self._columns: list[dict[str, np.ndarray]] = []
        self._names: set[str] | None = None

    def add(self, values: Mapping[str, Tensor], batch: Mapping[str, np.ndarray]) -> Iterator[Shard]:
        """Takes checked rows; yields every shard that they complete."""
        self._names = same_names(self._names, batch)
        total, done = len(batch[columns.INDEX + "sample"]), 0
        while done < total:
            memory = self._memory = self._memory or self._reserve()
            count = min(total - done, self._plan.shard_rows - self._filled)
            for name, buffer in memory.items():
                here = buffer[self._filled : self._filled + count]
                here.copy_(values[name][done : done + count])
                check_finite(name, here, self._first + self._filled)
            self._columns.append({name: array[done : done + count] for name, array in batch.items()})
            self._filled += count
            done += count
            if self._filled == self._plan.shard_rows:
                yield self._cut()

    def rest(self) -> Shard | None:
        """The rows that fill no shard, if any."""
        return self._cut() if self._filled else None

    def reuse(self, shard: Shard) -> None:
        """Takes back the memory of a shard that was written; may be called from another thread."""
        self._free.put(shard.memory)

    def _cut(self) -> Shard:
        memory, rows = self._memory or {}, self._filled
        joined = {name: np.concatenate([part[name] for part in self._columns]) for name in self._columns[0]}
        self._memory, self._filled, self._columns = None, 0, []
        self._first += rows
        return Shard(rows, {name: tensor[:rows] for name, tensor in memory.items()}, joined, memory)

    def _reserve(self) -> dict[str, Tensor]:
        try:
            return self._free.get_nowait()
        except queue.Empty:
            sites = self._plan.sites.items()
            rows = self._plan.shard_rows
            return {name: torch.empty((rows, *site.shape), dtype=site.torch_dtype) for name, site in sites}


class MemoryWriter:
    """The same `add` and `finish` as `ShardWriter`, into memory; reserves `plan.rows` rows and grows if more come.

    Examples
    --------
    >>> writer = MemoryWriter(Plan.of({"mlp": (2,)}, rows=2))
    >>> writer.add({"mlp": torch.ones(2, 2)}, {"sample": [0, 0], "position": [0, 1]})
    >>> writer.finish()
    Recording: 2 rows of 1 sample, in memory (16 B)
      mlp [2 rows, 2 units] float32
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self._rows, self._columns = plan, 0, []
        self._names: set[str] | None = None
        self._tensors = self._reserve(plan.rows)

    def add(
        self, values: Mapping[str, Tensor], index: Mapping[str, Any], labels: Mapping[str, Any] | None = None
    ) -> None:
        """Takes a batch: for every site Tensor[rows, *shape], index columns (sample, position, ...) and bool labels."""
        rows = self.plan.check(values)
        batch = columns.tidy(rows, index, labels or {})
        self._names = same_names(self._names, batch)
        self._grow(self._rows + rows)
        for name, tensor in self._tensors.items():
            here = tensor[self._rows : self._rows + rows]
            here.copy_(values[name])
            check_finite(name, here, self._rows)
        self._columns.append(batch)
        self._rows += rows

    def finish(self, table: pd.DataFrame | None = None) -> Recording:
        """The recording of all rows; `table` has one line per sample."""
        from microtome.subject.recording.about import about
        from microtome.subject.recording.recording import Recording
        from microtome.subject.recording.store import MemoryStore

        empty = {columns.INDEX + name: np.zeros(0, dtype=np.int64) for name in ("sample", "position")}
        names = self._columns[0] if self._columns else empty
        parts = self._columns or [empty]
        index, labels = columns.frames({name: np.concatenate([part[name] for part in parts]) for name in names})
        known = about(self._rows, index, table, labels)
        store = MemoryStore({name: tensor[: self._rows] for name, tensor in self._tensors.items()})
        return Recording(store, lambda: known, axes=self.plan.axes, provenance=self.plan.provenance)

    def _reserve(self, rows: int) -> dict[str, Tensor]:
        return {name: torch.empty((rows, *s.shape), dtype=s.torch_dtype) for name, s in self.plan.sites.items()}

    def _grow(self, rows: int) -> None:
        have = len(next(iter(self._tensors.values())))
        if rows > have:
            larger = self._reserve(max(rows, have + have // 2))
            for name, tensor in self._tensors.items():
                larger[name][: self._rows] = tensor[: self._rows]
            self._tensors = larger


def same_names(before: set[str] | None, batch: Mapping[str, np.ndarray]) -> set[str]:
    """The column names of all batches; they may not change on the way."""
    if before is not None and before != set(batch):
        raise UsageError(f"index and labels change from {sorted(before)} to {sorted(batch)}; keep them the same.")
    return set(batch)

"""Writing a recording to a folder, shard by shard, so that a killed writer loses only what was not yet committed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from microtome import io
from microtome.engine.budget import Budget
from microtome.errors import IntegrityError, SubjectMismatch, UsageError
from microtome.subject.recording import columns, disk
from microtome.subject.recording.about import about
from microtome.subject.recording.background import Background
from microtome.subject.recording.buffer import Buffer, Shard
from microtome.subject.recording.folder import same_plan, survey
from microtome.subject.recording.overlap import Overlap
from microtome.subject.recording.plan import Plan

if TYPE_CHECKING:
    import pandas as pd

    from microtome.subject.recording.recording import Recording


class ShardWriter:
    """Takes batches of rows and commits shards of `plan.shard_rows` rows; files do not depend on the batch size.

    A shard is written by another thread: temporary file, fsync, rename, fsync of the folder, manifest line. The writer
    continues what a folder already holds, if it is of the same plan: `committed` rows are safe, and the caller starts
    again at `next_sample`, or at any sample before it to keep its batches as they were; rows that come again are dropped.

    Parameters
    ----------
    folder : str or Path
        New, empty, or an unfinished recording of the same plan.
    plan : Plan
    budget : Budget, optional
        Most bytes on disk, and how much of the disk stays free; default: no limit, the usual reserve.

    Raises
    ------
    SubjectMismatch
        The folder holds a recording of another plan.
    StudyLocked
        Another process writes there.
    BudgetExceeded
        The plan, or the next shard, does not fit. Committed shards are kept.
    StorageError
        The disk refused. Committed shards are intact.
    NonFinite
        A value is NaN or infinite.

    Examples
    --------
    >>> import tempfile, torch
    >>> plan = Plan.of({"mlp": (2,)}, rows=3)
    >>> with tempfile.TemporaryDirectory() as folder, ShardWriter(folder + "/r", plan) as writer:
    ...     writer.add({"mlp": torch.zeros(3, 2)}, {"sample": [0, 0, 1], "position": [0, 1, 0]})
    ...     writer.finish()
    Recording: 3 rows of 2 samples, in 1 shard on disk (24 B)
      mlp [3 rows, 2 units] float32
    """

    def __init__(self, folder: str | Path, plan: Plan, *, budget: Budget | None = None) -> None:
        self.folder, self.plan, self._budget = Path(folder), plan, budget or Budget()
        self._manifest = io.Manifest(self.folder)
        with contextlib.ExitStack() as stack:
            stack.enter_context(io.lock(self.folder))
            self._open()
            self._lock = stack.pop_all()

    @classmethod
    def resume(cls, folder: str | Path, *, budget: Budget | None = None) -> ShardWriter:
        """Continues the recording that `folder` holds, with the plan it was started with."""
        path = Path(folder) / disk.PLAN
        if not path.is_file():
            raise UsageError(f"'{folder}' holds no recording to resume. Start one: ShardWriter(folder, plan).")
        return cls(folder, Plan.from_json(io.read_json(path)), budget=budget)

    @property
    def committed(self) -> int:
        """Rows that were on disk when the writer was opened."""
        return self._overlap.rows

    @property
    def next_sample(self) -> int:
        """The first sample that may be incomplete: start again at it or before."""
        return self._overlap.next_sample

    def add(
        self, values: Mapping[str, Tensor], index: Mapping[str, Any], labels: Mapping[str, Any] | None = None
    ) -> None:
        """Takes a batch: for every site Tensor[rows, *shape], index columns (sample, position, ...) and bool labels."""
        if self.finished:
            raise UsageError(f"the recording in '{self.folder}' is finished. Open it: Recording.load(folder).")
        batch = columns.tidy(self.plan.check(values), index, labels or {})
        again = self._overlap.drop(batch)
        if again < len(batch[columns.INDEX + "sample"]):
            if self._shards and self._shards[-1][1] < self.plan.shard_rows:
                raise SubjectMismatch(f"the recording was complete at {self.committed} rows, and more come now.")
            values = {name: tensor[again:] for name, tensor in values.items()}
            for shard in self._buffer.add(values, {name: array[again:] for name, array in batch.items()}):
                self._hand_over(shard)

    def finish(self, table: pd.DataFrame | None = None) -> Recording:
        """Writes what is left, index, table (one line per sample) and `recording.json`, and opens the recording."""
        from microtome.subject.recording.recording import Recording

        if not self.finished:
            if not self._overlap.passed:
                raise UsageError(
                    f"{self.committed} rows are committed and not all came again, so the recording may be incomplete. "
                    f"Add rows from sample {self.next_sample} on before finish()."
                )
            if (rest := self._buffer.rest()) is not None:
                self._hand_over(rest)
            self._thread.close()
            self._conclude(table)
        self.close()
        return Recording.load(self.folder, verify="no")

    def close(self) -> None:
        """Commits the full shards that wait, and lets go of the folder; without `finish` it stays unfinished."""
        self._thread.stop()
        self._lock.close()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _open(self) -> None:
        entries = survey(self.folder, self._manifest)
        if entries:
            self.plan = same_plan(self.folder, self.plan)
        checker = disk.Checker(self.folder, "no")
        self._shards, self.finished = disk.committed_shards(checker), disk.META in entries
        self._bytes = sum(entries[file]["bytes"] for file, _ in self._shards)
        if not self.finished:
            rest = max(0, self.plan.estimate().bytes - self._bytes)
            self._budget.check_disk(self.folder, rest, f"the recording '{self.folder}'", used=self._bytes)
        if not entries:
            self._commit(disk.PLAN, io.write_json(self.folder / disk.PLAN, self.plan.to_json()))
        store = disk.DiskStore(checker, self.plan, self._shards)
        self._overlap = Overlap({} if self.finished or not self._shards else store.columns())
        self._buffer = Buffer(self.plan, store.rows)
        self._handed = len(self._shards)
        self._thread = Background(self._write)

    def _hand_over(self, shard: Shard) -> None:
        size = shard.rows * self.plan.row_bytes
        self._budget.check_disk(self.folder, size, f"the next shard of '{self.folder}'", used=self._bytes)
        self._bytes += size
        self._thread.put(_Job(disk.shard_name(self._handed), shard))
        self._handed += 1

    def _write(self, job: _Job) -> None:
        tensors = {columns.VALUES + name: tensor for name, tensor in job.shard.values.items()}
        written = io.write_tensors(self.folder / job.file, tensors | columns.pack(job.shard.columns))
        self._manifest.add(job.file, rows=job.shard.rows, written=written)
        self._buffer.reuse(job.shard)

    def _conclude(self, table: pd.DataFrame | None) -> None:
        checker = disk.Checker(self.folder, "no")
        store = disk.DiskStore(checker, self.plan, disk.committed_shards(checker))
        index, labels = store.described()
        samples = int(index["sample"].max()) + 1 if len(index) else 0
        known = about(store.rows, index, table, labels)
        frame = known.index.assign(**{disk.LABEL + name: values for name, values in known.labels.items()})
        self._commit(disk.INDEX, io.write_table(self.folder / disk.INDEX, frame))
        self._commit(disk.TABLE, io.write_table(self.folder / disk.TABLE, known.table))
        meta = {"format": disk.FORMAT, "version": disk.VERSION, "plan": self.plan.to_json(), "rows": store.rows}
        files = {file: entry["hash"] for file, entry in self._manifest.entries().items() if file != disk.META}
        meta |= {"samples": samples, "labels": list(labels), "files": files}
        self._commit(disk.META, io.write_json(self.folder / disk.META, meta))
        self.finished = True

    def _commit(self, file: str, written: io.Written) -> None:
        entry = self._manifest.entries().get(file)
        if entry is None:
            self._manifest.add(file, written=written)
        elif entry["hash"] != written.hash:
            raise IntegrityError(f"'{self.folder / file}' came out different after a resume. Record again.")


class _Job(NamedTuple):
    file: str
    shard: Shard


def write_folder(recording: Recording, folder: Path, step: int) -> None:
    """Saves a recording, `step` rows at a time."""
    ones = {name: recording[name] for name in recording.sites}
    plan = Plan.of(
        {name: one.shape[1:] for name, one in ones.items()},
        rows=len(recording),
        dtype={name: one.dtype for name, one in ones.items()},
        axes={name: one.axes for name, one in ones.items()},
        provenance=recording.provenance,
    )
    with ShardWriter(folder, plan) as writer:
        if writer.finished or writer.committed:
            raise UsageError(f"'{folder}' already holds a recording. Choose another folder, or delete that one first.")
        for lo in range(0, len(recording), step):
            hi = min(lo + step, len(recording))
            labels = {name: recording.labels(name)[lo:hi] for name in recording.properties}
            values = {name: one._read(name, lo, hi) for name, one in ones.items()}
            writer.add(values, recording.index.iloc[lo:hi], labels)
        writer.finish(recording.table)


def open_committed(folder: str | Path) -> Recording:
    """The committed rows of a recording that is not finished, to look at or to rescue."""
    from microtome.subject.recording.recording import Recording

    store, describe, plan = disk.open_committed(Path(folder))
    return Recording(store, describe, axes=plan.axes, provenance=plan.provenance)

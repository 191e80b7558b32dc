"""Recordings in a folder: safetensors shards, Parquet index and table, a plan, and a manifest of hashes.

    plan.json  shard-00000.safetensors ...  index.parquet  table.parquet  recording.json  manifest.jsonl

`recording.json` is written last: a folder without it is unfinished, and its committed shards can still be read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from microtome import io
from microtome.errors import FormatError, IntegrityError, UsageError
from microtome.subject.recording import columns
from microtome.subject.recording.about import About, about
from microtome.subject.recording.plan import Plan

if TYPE_CHECKING:
    import pandas as pd

PLAN, META, INDEX, TABLE = "plan.json", "recording.json", "index.parquet", "table.parquet"
FORMAT, VERSION = "microtome.recording", 1
#: Prefix of label columns in the Parquet index.
LABEL = "label:"
#: Memory maps kept open, in files and in bytes; bounds resident memory while streaming.
OPEN_FILES, OPEN_BYTES = 64, 128 << 20


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:05d}.safetensors"


class Checker:
    """Compares a file with the manifest before its first use ("lazy"), or never ("no"; "full" has checked all)."""

    def __init__(self, folder: Path, verify: Literal["lazy", "full", "no"]) -> None:
        if verify not in ("lazy", "full", "no"):
            raise UsageError(f"verify is 'lazy', 'full' or 'no', got {verify!r}.")
        self.folder, self._lazy = folder, verify == "lazy"
        manifest = io.Manifest(folder)
        if verify == "full" and (damage := manifest.verify()):
            raise IntegrityError(
                f"{len(damage)} file{'s' * (len(damage) > 1)} of the recording '{folder}' differ from the manifest: "
                f"{'; '.join(map(str, damage[:5]))}. Restore or record again."
            )
        self.entries = manifest.entries()

    def path(self, file: str) -> Path:
        """Where a committed file is, once it is known to be intact."""
        entry = self.entries.get(file)
        if entry is None:
            raise IntegrityError(f"'{file}' is not in the manifest of '{self.folder}'. Restore it or record again.")
        path = io.safe_join(self.folder, file)
        if self._lazy and not entry.get("checked"):
            if not path.is_file():
                raise IntegrityError(f"'{path}' is missing; the manifest expects {entry['bytes']} bytes. Restore it.")
            if (found := io.hash_file(path)) != entry["hash"]:
                raise IntegrityError(
                    f"'{path}' was changed: expected hash {entry['hash']}, found {found}. Restore it or record again."
                )
            entry["checked"] = True
        return path


class DiskStore:
    """Committed shards of a folder, memory-mapped, few at a time."""

    def __init__(self, checker: Checker, plan: Plan, shards: list[tuple[str, int]]) -> None:
        self._checker, self._plan, self._files = checker, plan, [file for file, _ in shards]
        self._ends = np.cumsum([0] + [rows for _, rows in shards])
        self._open: OrderedDict[int, Any] = OrderedDict()
        self.rows, self.sites = int(self._ends[-1]), tuple(plan.sites)
        self.where = f"in {len(shards)} shard{'s' * (len(shards) != 1)} on disk"

    def shape(self, site: str) -> tuple[int, ...]:
        return self._plan.sites[site].shape

    def dtype(self, site: str) -> torch.dtype:
        return self._plan.sites[site].torch_dtype

    def read(self, site: str, start: int, stop: int) -> Tensor:
        parts = []
        while start < stop:
            shard = self._shard_of(start)
            low, end = int(self._ends[shard]), min(stop, int(self._ends[shard + 1]))
            parts.append(self._tensors(shard).slice(columns.VALUES + site, start - low, end - low))
            start = end
        return parts[0] if len(parts) == 1 else torch.cat([self._empty(site, 0), *parts])

    def gather(self, site: str, rows: np.ndarray) -> Tensor:
        out, order = self._empty(site, len(rows)), np.argsort(rows, kind="stable")
        cuts = np.searchsorted(rows[order], self._ends)
        for shard in range(len(self._files)):
            here = order[cuts[shard] : cuts[shard + 1]]
            if len(here):
                local = rows[here] - self._ends[shard]
                low, high = int(local[0]), int(local[-1]) + 1
                values = self._tensors(shard).slice(columns.VALUES + site, low, high)
                out[torch.from_numpy(here)] = values[torch.from_numpy(local - low)]
        return out

    def described(self) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
        """Index and labels as the shards carry them."""
        return columns.frames(self.columns())

    def columns(self) -> dict[str, np.ndarray]:
        """Index columns and labels of all shards, named "index/..." and "label/..."."""
        parts = []
        for shard in range(len(self._files)):
            file = self._tensors(shard)
            parts.append(columns.unpack({name: file.get(name) for name in columns.packed_names(file.keys())}))
        names = list(parts[0]) if parts else [columns.INDEX + "sample", columns.INDEX + "position"]
        if any(set(part) != set(names) for part in parts):
            raise FormatError(f"the shards of '{self._checker.folder}' differ in index columns. Record again.")
        none = np.zeros(0, dtype=np.int64)
        return {name: np.concatenate([part[name] for part in parts]) if parts else none for name in names}

    def _shard_of(self, row: int) -> int:
        return int(np.searchsorted(self._ends, row, side="right")) - 1

    def _empty(self, site: str, rows: int) -> Tensor:
        return torch.empty((rows, *self.shape(site)), dtype=self.dtype(site))

    def _tensors(self, shard: int) -> Any:
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        file = io.open_tensors(self._checker.path(self._files[shard]))
        rows = int(self._ends[shard + 1] - self._ends[shard])
        for site, plan in self._plan.sites.items():
            name = columns.VALUES + site
            found = file.slice(name, 0, 0).dtype if name in file and len(file.shape(name)) else None
            if found is not plan.torch_dtype or file.shape(name) != (rows, *plan.shape):
                raise FormatError(
                    f"'{self._files[shard]}' should hold {site!r} as {plan.dtype} {(rows, *plan.shape)}, and does not. "
                    "Restore it or record again."
                )
        self._open[shard] = file
        sizes = self._ends[1:] - self._ends[:-1]
        while len(self._open) > 1 and (
            len(self._open) > OPEN_FILES or int(sizes[list(self._open)].sum()) * self._plan.row_bytes > OPEN_BYTES
        ):
            self._open.popitem(last=False)
        return file


def open_folder(folder: Path, verify: Literal["lazy", "full", "no"]) -> tuple[DiskStore, Callable[[], About], Plan]:
    """Store, description and plan of a finished recording."""
    checker = Checker(folder, verify)
    if META not in checker.entries:
        have = f"{committed_rows(checker)} rows are committed" if PLAN in checker.entries else "no recording is there"
        raise FormatError(
            f"'{folder}' holds no finished recording: {have}. Run the same recording again to resume it, or read "
            "what is committed with microtome.subject.recording.open_committed(folder)."
        )
    meta = io.read_json(checker.path(META))
    if not isinstance(meta, dict) or meta.get("format") != FORMAT or meta.get("version") != VERSION:
        raise FormatError(f"'{folder}/{META}' is not of format {FORMAT} {VERSION}. Use the version that wrote it.")
    plan = Plan.from_json(meta.get("plan"))
    store = DiskStore(checker, plan, committed_shards(checker))
    if store.rows != meta.get("rows"):
        raise IntegrityError(f"'{folder}' should hold {meta.get('rows')} rows, its shards hold {store.rows}.")

    def describe() -> About:
        frame = io.read_table(checker.path(INDEX), max_bytes=1 << 40)
        labels = {name: frame.pop(name).to_numpy() for name in list(frame.columns) if name.startswith(LABEL)}
        table = io.read_table(checker.path(TABLE), max_bytes=1 << 40)
        return about(store.rows, frame, table, {name.removeprefix(LABEL): values for name, values in labels.items()})

    return store, describe, plan


def committed_shards(checker: Checker) -> list[tuple[str, int]]:
    """Names and rows of the committed shards, in order; all but the last must be full."""
    found = [(file, entry.get("rows")) for file, entry in checker.entries.items() if file.startswith("shard-")]
    if any(file != shard_name(i) or type(rows) is not int or rows < 1 for i, (file, rows) in enumerate(found)):
        raise FormatError(f"the manifest of '{checker.folder}' lists shards out of order. Restore it or record again.")
    return found


def committed_rows(checker: Checker) -> int:
    """Rows in committed shards."""
    return sum(rows for _, rows in committed_shards(checker))


def open_committed(folder: Path) -> tuple[DiskStore, Callable[[], About], Plan]:
    """What an unfinished recording has committed; its samples have no table yet."""
    checker = Checker(folder, "lazy")
    if PLAN not in checker.entries:
        raise FormatError(f"'{folder}' holds no recording. Give the folder that was written to.")
    plan = Plan.from_json(io.read_json(checker.path(PLAN)))
    store = DiskStore(checker, plan, committed_shards(checker))

    def describe() -> About:
        index, labels = store.described()
        return about(store.rows, index, None, labels)

    return store, describe, plan

"""What the rows of a recording are: their place (index), their samples (table) and their properties (labels)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from microtome.errors import ShapeError, UsageError

if TYPE_CHECKING:
    import pandas as pd


#: Index columns that say where a row is; they come first, in this order.
PLACES = ("sample", "position", "y", "x")


@dataclass(frozen=True)
class About:
    """Index (one line per row), table (one line per sample) and labels (one bool per row and property)."""

    index: pd.DataFrame
    table: pd.DataFrame
    labels: dict[str, np.ndarray]

    def take(self, rows: np.ndarray) -> About:
        """The same samples, fewer or other rows; sample ids keep pointing into the whole table."""
        index = self.index.iloc[rows].reset_index(drop=True)
        return About(index, self.table, {name: values[rows] for name, values in self.labels.items()})

    def with_labels(self, labels: Mapping[str, Any]) -> About:
        """Adds or replaces properties."""
        labels = self.labels | as_labels(labels, len(self.index))
        return About(self.index, self.table, dict(sorted(labels.items())))

    def documents(self) -> np.ndarray:
        """The group of every row: the document of its sample, or the sample itself where the table names none."""
        sample = self.index["sample"].to_numpy()
        if "document" not in self.table.columns:
            return sample
        codes, _ = _pandas().factorize(self.table["document"])
        return codes[sample]


def about(
    rows: int, index: Mapping[str, Any] | pd.DataFrame | None, table: pd.DataFrame | None, labels: Mapping[str, Any] | None
) -> About:
    """Checks and completes what is known of `rows` rows; without an index every row is a sample of its own."""
    pd = _pandas()
    frame = pd.DataFrame({"sample": np.arange(rows)} if index is None else {k: _plain(index[k]) for k in index})
    if len(frame) != rows:
        raise ShapeError(f"the index has {len(frame)} lines for {rows} rows; give one line per row.")
    if "sample" not in frame.columns:
        raise UsageError(f"the index needs a column 'sample', found {list(frame.columns)}.")
    frame["sample"] = _integers(frame["sample"], "sample")
    if "position" not in frame.columns:
        frame.insert(1, "position", 0 if "y" in frame.columns else frame.groupby("sample").cumcount())
    frame["position"] = _integers(frame["position"], "position")
    last = int(frame["sample"].max()) if rows else -1
    if rows and int(frame["sample"].min()) < 0:
        raise UsageError("the index has a negative sample id; samples are numbered from 0.")
    table = pd.DataFrame({"document": np.arange(last + 1)}) if table is None else table.reset_index(drop=True)
    if len(table) <= last:
        raise ShapeError(f"the index speaks of sample {last}, the table has {len(table)} lines; give one per sample.")
    places = [name for name in PLACES if name in frame.columns]
    frame = frame[places + sorted(set(frame.columns) - set(places))]
    return About(frame, table, as_labels(labels or {}, rows))


def as_labels(labels: Mapping[str, Any], rows: int) -> dict[str, np.ndarray]:
    """Properties as bool arrays, one value per row, sorted by name."""
    found = {}
    for name, values in sorted(labels.items()):
        array = np.asarray(values)
        if array.shape != (rows,):
            raise ShapeError(f"labels {name!r} have shape {array.shape}, for {rows} rows; give ({rows},).")
        if array.dtype != bool and not np.isin(array, (0, 1)).all():
            raise UsageError(f"labels {name!r} hold values other than True and False; compare first, e.g. x == 'noun'.")
        found[str(name)] = array.astype(bool)
    return found


def _integers(column: pd.Series, name: str) -> np.ndarray:
    values = column.to_numpy()
    if len(values) and not np.issubdtype(values.dtype, np.integer):
        raise UsageError(f"index column {name!r} must hold integers, found {values.dtype}.")
    return values.astype(np.int64)


def _plain(column: Any) -> Any:
    if hasattr(column, "to_numpy"):
        return column.to_numpy()
    return column.numpy() if hasattr(column, "numpy") else column


def _pandas():
    import pandas

    return pandas

"""Rows that come again after a resume: found in the committed index, compared, and dropped."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from microtome.errors import SubjectMismatch, UsageError
from microtome.subject.recording.about import PLACES
from microtome.subject.recording.columns import INDEX

_KEYS = tuple(INDEX + name for name in PLACES)


class Overlap:
    """The committed index of an unfinished recording, and how much of it the caller has repeated."""

    def __init__(self, committed: Mapping[str, np.ndarray]) -> None:
        self._columns = committed
        self._keys = [name for name in _KEYS if name in committed]
        self.rows = len(committed[_KEYS[0]]) if committed else 0
        self.next_sample = int(committed[_KEYS[0]][-1]) if self.rows else 0
        self._place = 0 if self.rows == 0 else None  # the committed row that the caller's next row repeats

    @property
    def passed(self) -> bool:
        """Whether every committed row has been repeated or skipped."""
        return self._place == self.rows

    def drop(self, batch: Mapping[str, np.ndarray]) -> int:
        """How many leading rows of the batch are committed already."""
        rows = len(batch[_KEYS[0]])
        if self.passed or not rows:
            return 0
        if set(batch) != set(self._columns):
            raise SubjectMismatch(
                f"the index and labels are {sorted(batch)}, the committed shards hold {sorted(self._columns)}. "
                "Resume with the same data and labels, or write to another folder."
            )
        if self._place is None:
            same = np.logical_and.reduce([self._columns[name] == batch[name][0] for name in self._keys])
            if not same.any():
                raise UsageError(
                    f"row (sample {batch[_KEYS[0]][0]}, position {batch[_KEYS[1]][0]}) is not among the {self.rows} "
                    f"committed rows, so rows may be missing. Start again at sample {self.next_sample} or before."
                )
            self._place = int(np.flatnonzero(same)[-1])
        again = min(rows, self.rows - self._place)
        for name in self._keys:
            if not np.array_equal(self._columns[name][self._place : self._place + again], batch[name][:again]):
                raise SubjectMismatch(
                    f"the rows differ from the committed ones in {name.removeprefix(INDEX)!r}: other data or another "
                    "order. Resume with the same inputs, or write to another folder."
                )
        self._place += again
        return again

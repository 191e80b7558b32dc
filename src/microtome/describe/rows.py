"""What is known of each row of a recording: its token and neighbours, its place, its document, its labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from microtome.describe.texts import readable
from microtome.errors import UsageError

OPEN, CLOSE = "([{", ")]}"
#: Table columns with more values than this are no tags.
MOST_TAGS = 20


@dataclass(frozen=True)
class Rows:
    """The rows of a recording, ready for predicates.

    Attributes
    ----------
    sample, position : int ndarray [rows]
        Where each row is.
    token : int ndarray [rows]
        Number of its token in `texts`; -1 where it has none.
    texts : list of str
        Distinct token texts.
    places : dict of str to int ndarray [rows]
        y and x of images.
    tags : dict of str to str ndarray [rows]
        Columns of the sample table with few values.
    labels : dict of str to bool ndarray [rows]
        Properties of the recording.
    """

    sample: np.ndarray
    position: np.ndarray
    token: np.ndarray
    texts: list[str]
    places: dict[str, np.ndarray]
    tags: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]

    @classmethod
    def of(cls, recording: Any, tokens: Sequence[str] | None = None) -> "Rows":
        """The rows of a recording; `tokens` are the texts by token id (not needed where the index holds texts)."""
        index, table = recording.index, recording.table
        sample = index["sample"].to_numpy()
        token, texts = _tokens(index, tokens)
        tags = {}
        for name in table.columns:
            column = table[name]
            if name != "document" and column.dtype.kind not in "fc" and 2 <= column.nunique() <= MOST_TAGS:
                missing = column.isna().to_numpy()
                tags[str(name)] = np.where(missing, "", column.astype(str).to_numpy(dtype=object))[sample]
        places = {name: index[name].to_numpy() for name in ("y", "x") if name in index.columns}
        labels = {name: recording.labels(name) for name in recording.properties}
        return cls(sample, index["position"].to_numpy(), token, texts, places, tags, labels)

    def __len__(self) -> int:
        return len(self.sample)

    def at(self, offset: int) -> np.ndarray:
        """Token numbers `offset` positions further on in the same sample; -1 where that row was not recorded."""
        if offset == 0 or not len(self):
            return self.token
        if offset not in self._neighbours:
            key = self._key[self._order]
            wanted = self._key + offset  # keys of samples are far enough apart that no neighbour is in another sample
            at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
            self._neighbours[offset] = np.where(key[at] == wanted, self.token[self._order[at]], -1)
        return self._neighbours[offset]

    @cached_property
    def _neighbours(self) -> dict[int, np.ndarray]:
        return {}

    @cached_property
    def _key(self) -> np.ndarray:
        low, high = (int(self.position.min()), int(self.position.max())) if len(self) else (0, 0)
        return self.sample * (high - low + 64) + self.position - low

    @cached_property
    def _order(self) -> np.ndarray:
        """Rows by sample and position: what stood before is what comes before here."""
        return np.argsort(self._key, kind="stable")

    @cached_property
    def seen(self) -> np.ndarray:
        """Whether the token stood earlier in the sample."""
        return self._repeated(self.token) & (self.token >= 0)

    @cached_property
    def pair_seen(self) -> np.ndarray:
        """Whether the token and the one before it stood together earlier in the sample."""
        before = self.at(-1)
        pair = before.astype(np.int64) * (len(self.texts) + 1) + self.token
        return self._repeated(pair) & (before >= 0) & (self.token >= 0)

    @cached_property
    def in_brackets(self) -> np.ndarray:
        """Whether a bracket opened before the token is still open; a closing bracket without its opening one is ignored."""
        step = self._count(lambda text: sum(text.count(c) for c in OPEN) - sum(text.count(c) for c in CLOSE))
        inside = np.zeros(len(self), dtype=bool)
        for rows in self.by_sample:
            run = np.concatenate([[0], np.cumsum(step[rows])])
            inside[rows] = (run - np.minimum(np.minimum.accumulate(run), 0))[:-1] > 0
        return inside

    @cached_property
    def in_quotes(self) -> np.ndarray:
        """Whether an odd number of double quotes stood before the token."""
        marks = self._count(lambda text: text.count('"') + text.count("“") + text.count("”"))
        inside = np.zeros(len(self), dtype=bool)
        for rows in self.by_sample:
            inside[rows] = (np.cumsum(marks[rows]) - marks[rows]) % 2 == 1
        return inside

    @cached_property
    def by_sample(self) -> list[np.ndarray]:
        """Row numbers of each sample, in order."""
        order = self._order
        return np.split(order, np.flatnonzero(np.diff(self.sample[order])) + 1) if len(order) else []

    def earlier(self, numbers: np.ndarray) -> np.ndarray:
        """Whether one of some tokens stood anywhere before the row in its sample."""
        hit = np.isin(self.token, numbers)
        found = np.zeros(len(self), dtype=bool)
        for rows in self.by_sample:
            found[rows[1:]] = np.logical_or.accumulate(hit[rows])[:-1]
        return found

    def _repeated(self, key: np.ndarray) -> np.ndarray:
        """Rows whose key stood before in the same sample."""
        order = self._order[np.lexsort((key[self._order], self.sample[self._order]))]
        again = np.zeros(len(key), dtype=bool)
        again[order[1:]] = (self.sample[order][1:] == self.sample[order][:-1]) & (key[order][1:] == key[order][:-1])
        return again

    def _count(self, count: Any) -> np.ndarray:
        per_text = np.array([count(text) for text in self.texts] + [0])
        return per_text[self.token]


def _tokens(index: Any, tokens: Sequence[str] | None) -> tuple[np.ndarray, list[str]]:
    if "token" not in index.columns:
        return np.full(len(index), -1), []
    column = index["token"].to_numpy()
    if column.dtype.kind in "iu":
        if tokens is None:
            texts = [f"#{i}" for i in range(int(column.max(initial=-1)) + 1)]
        else:
            texts = readable(tokens)
            if len(column) and int(column.max()) >= len(texts):
                raise UsageError(
                    f"the recording holds token {int(column.max())}, tokens= has {len(texts)} texts; "
                    "give one text per id, e.g. token_texts(subject)."
                )
        texts = np.array(texts, dtype=object)
    else:
        texts, column = np.unique(np.array(readable(column), dtype=object), return_inverse=True)
    # Ids that share a text become one token, and texts that do not occur are dropped.
    used, number = np.unique(column, return_inverse=True)
    distinct, merged = np.unique(texts[used].astype(str), return_inverse=True) if len(used) else (np.array([]), used)
    return merged[number].astype(np.int64) if len(used) else column, [str(t) for t in distinct]

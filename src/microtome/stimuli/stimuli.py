"""Stimuli: what is shown to a subject, with a table about the samples and the truth about their parts."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from microtome.errors import ShapeError, UsageError, nearest
from microtome.stimuli.fingerprint import fingerprint
from microtome.stimuli.rows import row_indices, take

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

KINDS = ("text", "image", "vector")
SPAN_COLUMNS = ["sample", "start", "end", "property"]


@dataclass(frozen=True, eq=False, repr=False)
class Stimuli:
    """Samples to show, a table about them, and the ground truth about their parts.

    Parameters
    ----------
    inputs : list of str, or Tensor [n, ...]
        Texts, images [n, channel, y, x] or vectors [n, d].
    table : DataFrame [n, columns], optional
        One row per sample. The column "document" groups samples that are not independent (default: each sample alone).
    spans : DataFrame with columns sample, start, end, property, optional
        Token-level truth of texts: characters [start, end) of text `sample` have `property`.
    masks : dict of name -> BoolTensor [n, y, x], optional
        Pixel-level truth of images.
    kind : str
        "text", "image" or "vector".
    name : str
        Shown in results.

    Raises
    ------
    UsageError
        Unknown kind, a table or mask with another number of rows, a span outside its text.

    Examples
    --------
    >>> s = Stimuli(["a red ball", "a cup"], spans=[(0, 2, 5, "colour")])
    >>> s.properties, s.labels("colour").tolist(), s[1:].inputs
    (['colour'], [True, False], ['a cup'])
    """

    inputs: "list[str] | Tensor"
    table: "pd.DataFrame" = None  # type: ignore[assignment]
    spans: "pd.DataFrame" = None  # type: ignore[assignment]
    masks: "dict[str, Tensor]" = field(default_factory=dict)
    kind: str = "text"
    name: str = "stimuli"

    def __post_init__(self) -> None:
        import pandas as pd

        if self.kind not in KINDS:
            raise UsageError(f"kind must be one of {KINDS}, got {self.kind!r}.{nearest(str(self.kind), KINDS)}")
        if self.kind == "text":
            _check_texts(self.inputs, self.name)
            object.__setattr__(self, "inputs", list(self.inputs))
        elif not hasattr(self.inputs, "shape") or len(self.inputs.shape) < (4 if self.kind == "image" else 2):
            shape = "[n, channel, y, x]" if self.kind == "image" else "[n, d]"
            raise ShapeError(f"{self.kind} stimuli {self.name!r} need a tensor {shape}, got {_describe(self.inputs)}.")
        n = len(self)
        table = pd.DataFrame(index=range(n)) if self.table is None else self.table.reset_index(drop=True)
        if len(table) != n:
            raise ShapeError(f"the table of stimuli {self.name!r} needs {n} rows, one per sample, got {len(table)}.")
        if "document" not in table:
            table = table.assign(document=np.arange(n))
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "spans", self._check_spans(self.spans))
        for name, mask in self.masks.items():
            wanted = (n, *self.inputs.shape[-2:]) if self.kind == "image" else (n,)
            if tuple(mask.shape) != wanted:
                got = tuple(mask.shape)
                raise ShapeError(f"mask {name!r} of stimuli {self.name!r} needs shape {wanted}, got {got}.")

    def _check_spans(self, spans: Any) -> "pd.DataFrame":
        import pandas as pd

        if spans is None:
            return pd.DataFrame({c: pd.Series(dtype=object if c == "property" else np.int64) for c in SPAN_COLUMNS})
        if not isinstance(spans, pd.DataFrame):
            spans = pd.DataFrame(list(spans), columns=SPAN_COLUMNS)
        missing = [c for c in SPAN_COLUMNS if c not in spans]
        if missing:
            raise UsageError(f"spans need the columns {SPAN_COLUMNS}; missing: {missing}.")
        spans = spans[SPAN_COLUMNS].reset_index(drop=True)
        if not len(spans):
            return spans
        if self.kind != "text":
            raise UsageError(f"spans are for texts; give {self.kind} stimuli their truth as masks.")
        sample, start, end = (spans[c].to_numpy() for c in SPAN_COLUMNS[:3])
        lengths = np.array([len(text) for text in self.inputs], dtype=np.int64)
        known = (sample >= 0) & (sample < len(lengths))
        limit = lengths[np.where(known, sample, 0)] if len(lengths) else np.zeros(len(spans))
        bad = ~known | (start < 0) | (end <= start) | (end > limit)
        if bad.any():
            row = spans[bad].iloc[0].to_dict()
            raise UsageError(f"{int(bad.sum())} spans of {self.name!r} lie outside their text, the first: {row}.")
        return spans.sort_values("sample", kind="stable", ignore_index=True)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, key: Any) -> "Stimuli":
        """The chosen rows (slice, indices or boolean mask) as Stimuli; spans and masks follow."""
        rows = row_indices(key, len(self), f"stimuli {self.name!r}")
        pairs = self.spans.groupby("sample", sort=False).indices
        old = [pairs.get(int(row), np.zeros(0, dtype=np.int64)) for row in rows]
        spans = self.spans.iloc[np.concatenate(old) if old else []].copy()
        spans["sample"] = np.repeat(np.arange(len(rows)), [len(o) for o in old]) if old else spans["sample"]
        masks = {name: take(mask, rows) for name, mask in self.masks.items()}
        return Stimuli(take(self.inputs, rows), self.table.iloc[rows], spans, masks, self.kind, self.name)

    @property
    def properties(self) -> list[str]:
        """Names of the part-level truths: span properties of texts, masks of images."""
        return sorted({*self.spans["property"], *self.masks})

    def labels(self, name: str) -> np.ndarray:
        """One label per sample [n]: a column of the table, or whether the property `name` occurs in the sample."""
        if name in self.table:
            return self.table[name].to_numpy()
        if name in self.masks:
            return self.masks[name].flatten(1).any(1).numpy() if self.kind == "image" else self.masks[name].numpy()
        if name in set(self.spans["property"]):
            present = np.zeros(len(self), dtype=bool)
            present[self.spans.loc[self.spans["property"] == name, "sample"].to_numpy(dtype=np.int64)] = True
            return present
        known = [*map(str, self.table.columns), *self.properties]
        raise UsageError(f"stimuli {self.name!r} have no label {name!r}; known: {known[:20]}.{nearest(name, known)}")

    def fingerprint(self) -> str:
        """Hash of inputs, table, spans and masks."""
        return fingerprint(self.kind, self.inputs, self.table, self.spans, dict(self.masks))

    def __repr__(self) -> str:
        return f"Stimuli({self.name!r}, {len(self)} {self.kind} samples, {len(self.properties)} properties)"


def _check_texts(inputs: Any, name: str) -> None:
    if isinstance(inputs, str) or not all(isinstance(text, str) for text in inputs):
        raise UsageError(f"text stimuli {name!r} need a list of str, got {_describe(inputs)}.")


def _describe(value: Any) -> str:
    return f"{type(value).__name__} {tuple(value.shape)}" if hasattr(value, "shape") else type(value).__name__

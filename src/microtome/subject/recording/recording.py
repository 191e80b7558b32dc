"""The Recording: values of units over samples and positions, in memory or on disk, with what is known of both axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from microtome.errors import Degenerate, UsageError, nearest
from microtome.rng import rng
from microtome.subject.recording import display, export, layout, orders
from microtome.subject.recording.about import About, about
from microtome.subject.recording.moments import moments
from microtome.subject.recording.store import EncodedStore, MemoryStore
from microtome.subject.recording.view import View

if TYPE_CHECKING:
    import pandas as pd
    import xarray

#: Rows per step where a whole recording is streamed; fixed, so that sums do not depend on how rows are stored.
STREAM_ROWS = 4096


class Recording(View):
    """Values of one or more sites over the same rows; a row is one (sample, position), padding removed.

    `rec[site]` chooses a site; `matrix`, `batches`, `mean`... work on one. Selecting, permuting and encoding return new
    recordings that share the stored values. Rows are described by `index` (one line per row), `table` (one line per
    sample) and `labels(property)`.

    Notes
    -----
    Null: `permuted` and `shifted` move the values and leave index, table and labels in place, which breaks what links
    them; `resampled` moves all of them together.
    Misleads when rows of one sample are taken for independent: intervals and splits go by document.

    Examples
    --------
    >>> rec = Recording.of(torch.arange(6.0).reshape(3, 2), site="mlp", labels={"noun": [True, False, True]})
    >>> rec
    Recording: 3 rows of 3 samples, in memory (24 B)
      mlp [3 rows, 2 units] float32
      labels: noun
    >>> rec.select(rec.labels("noun")).matrix()
    tensor([[0., 1.],
            [4., 5.]])
    """

    @classmethod
    def of(
        cls,
        values: Tensor | np.ndarray | Mapping[str, Tensor | np.ndarray],
        *,
        site: str = "x",
        index: Mapping[str, Any] | None = None,
        table: pd.DataFrame | None = None,
        labels: Mapping[str, Any] | None = None,
        axes: Mapping[str, tuple[str, ...]] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> Recording:
        """A recording of arrays [rows, ...] (or of several, by site); shares their memory, numbers become floats.

        Without `index` every row is a sample of its own; without `table` every sample is a document of its own.
        """
        store = MemoryStore.of(values if isinstance(values, Mapping) else {site: values})
        known = about(store.rows, index, table, labels)
        full = {name: layout.axes_of(store.shape(name), (axes or {}).get(name)) for name in store.sites}
        return cls(store, lambda: known, axes=full, provenance=provenance or {})

    @classmethod
    def load(cls, folder: str | Path, *, verify: Literal["lazy", "full", "no"] = "lazy") -> Recording:
        """Opens a saved recording, memory-mapped; "lazy" checks each file's hash when it is first read, "full" now."""
        from microtome.subject.recording.disk import open_folder

        store, describe, plan = open_folder(Path(folder), verify)
        return cls(store, describe, axes=plan.axes, provenance=plan.provenance)

    def save(self, folder: str | Path) -> Recording:
        """Writes the recording, shard by shard, and returns it opened from there."""
        from microtome.subject.recording.writer import write_folder

        write_folder(self, Path(folder), STREAM_ROWS)
        return Recording.load(folder, verify="no")

    # ---- values ----
    def matrix(self, dtype: torch.dtype | None = None) -> Tensor:
        """All rows of the one site, feature axes flattened: Tensor[rows, units]. May share the stored values."""
        return self.tensor(dtype).flatten(1)

    def tensor(self, dtype: torch.dtype | None = None) -> Tensor:
        """All rows of the one site with its feature axes: Tensor[rows, *shape]. May share the stored values."""
        values = self._read(self.site, 0, len(self))
        return values if dtype is None else values.to(dtype)

    def batches(self, size: int, seed: int | None = None) -> Iterator[Tensor]:
        """Streams Tensor[<= size, units] of the one site: in order, or each row once in the order that `seed` draws."""
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise UsageError(f"batches need a size >= 1, got {size!r}.")
        site, total = self.site, len(self)
        if seed is None:
            return (self._read(site, lo, min(lo + size, total)).flatten(1) for lo in range(0, total, size))
        pieces = (self._gather(site, rows).flatten(1) for rows in orders.shuffled(total, seed))
        return layout.rebatch(pieces, size)

    def encode(self, basis: Any) -> Recording:
        """The latents of a basis as a recording of site "site/basis"; encoded when read, so it streams."""
        site = self.site if len(self.sites) == 1 else basis.site
        store = EncodedStore(self[site]._store, site, basis)
        made = self.provenance | {"basis": str(getattr(basis, "fingerprint", ""))}
        return self._like(store=store, sites=store.sites, axes={store.sites[0]: ("latent",)}, provenance=made)

    def mean(self) -> Tensor:
        """Mean of every unit, Tensor[units]: streamed, summed in float64, given in float32 (float64 if so stored)."""
        _, mean, _ = self._moments()
        return mean

    def std(self) -> Tensor:
        """Standard deviation of every unit (divided by rows), Tensor[units]: streamed, summed in float64."""
        count, _, squares = self._moments()
        return (squares.double() / count).sqrt().to(squares.dtype)

    def padded(self) -> tuple[Tensor, Tensor]:
        """The one site as Tensor[sample, position, *shape], images [sample, y, x, *shape], and a mask; zero elsewhere."""
        return layout.padded(self.tensor(), self.index)

    # ---- what the rows are ----
    @property
    def index(self) -> pd.DataFrame:
        """One line per row: sample, position, and what was recorded with it (token, y, x)."""
        return self._about.index

    @property
    def table(self) -> pd.DataFrame:
        """One line per sample; `index.sample` are line numbers of it. Whole, also after `select` and `samples`."""
        return self._about.table

    @property
    def properties(self) -> list[str]:
        """Names that `labels` knows."""
        return list(self._about.labels)

    def labels(self, name: str) -> np.ndarray:
        """The property `name` of every row: bool[rows]."""
        known = self._about.labels
        if name not in known:
            have = f" It has {', '.join(map(repr, known))}." if known else " It has none; see add_labels."
            raise UsageError(f"the recording has no labels {name!r}.{have}{nearest(str(name), known)}")
        return known[name]

    def add_labels(self, labels: Mapping[str, Any]) -> Recording:
        """The same recording with more properties, each bool[rows]."""
        known = self._about.with_labels(labels)
        return self._like(describe=lambda: known)

    def blinded(self) -> Recording:
        """The same rows without what is known of them: no labels, and of the table only the documents.

        For methods that must find structure by themselves and are judged by the labels afterwards.
        """
        known = self._about
        columns = [c for c in ("document",) if c in known.table.columns]
        blind = About(known.index, known.table[columns], {})
        return self._like(describe=lambda: blind)

    # ---- other rows ----
    def select(self, rows: Sequence[int] | np.ndarray | Tensor) -> Recording:
        """The given rows (numbers, in that order, or a mask) with their index lines and labels."""
        chosen = layout.as_rows(rows, len(self))
        return self._like(source=self._rows[chosen], describe=lambda: self._about.take(chosen))

    def samples(self, ids: Sequence[int] | np.ndarray) -> Recording:
        """All rows of the given samples, sample after sample in the order of `ids`."""
        return self.select(layout.rows_of_samples(self.index["sample"].to_numpy(), ids))

    def permuted(self, seed: int = 0) -> Recording:
        """Null: values permuted over all rows; index, table and labels stay."""
        return self._like(source=self._rows[rng(seed, "recording.permuted").permutation(len(self))])

    def shifted(self, seed: int = 0) -> Recording:
        """Null: values shifted circularly within each document, which keeps their autocorrelation; the rest stays."""
        return self._like(source=self._rows[orders.shifted(self._about.documents(), seed)])

    def resampled(self, seed: int = 0) -> Recording:
        """Bootstrap: documents drawn with replacement, with all their rows; every copy of a sample has a new id."""
        rows, draw = orders.bootstrapped(self._about.documents(), seed)
        return self._like(source=self._rows[rows], describe=lambda: layout.renumbered(self._about.take(rows), draw))

    # ---- out ----
    def to_numpy(self) -> np.ndarray:
        """The one site as ndarray[rows, *shape]; bfloat16 becomes float32."""
        return export.to_numpy(self.tensor())

    def to_xarray(self) -> xarray.Dataset:
        """An xarray Dataset: one variable per site, index and labels as coordinates of `row` (extra: xarray)."""
        return export.to_xarray(self)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of sites, values, index and labels; the same in memory and on disk. Reads everything once."""
        return export.fingerprint(self, STREAM_ROWS)

    def __repr__(self) -> str:
        return display.text(self)

    def _repr_html_(self) -> str:
        return display.html(self)

    def _moments(self) -> tuple[int, Tensor, Tensor]:
        if not len(self):
            raise Degenerate("the recording has no rows, so it has no mean; select rows first.")
        count, mean, squares = moments(self.batches(STREAM_ROWS))
        wide = torch.float64 if self.dtype == torch.float64 else torch.float32
        return count, mean.to(wide), squares.to(wide)

"""What a recording will hold, and what it will cost, before anything runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from microtome.errors import FormatError, ShapeError, SiteError, UsageError, nearest
from microtome.subject.recording.layout import DTYPES, axes_of

#: Bytes of values per shard file unless the plan says otherwise.
SHARD_BYTES = 32 << 20
#: Shards in memory while writing: one is filled, two wait, one is written, and the writer of the file copies it twice.
BUFFERS, SHARDS_IN_MEMORY = 4, 6
#: Index bytes per row: sample, position, token code (shard) and the compressed line of the Parquet index.
INDEX_BYTES = 20 + 6
_NAMES = {str(dtype).removeprefix("torch."): dtype for dtype in DTYPES}


class Cost(NamedTuple):
    """Bytes on disk, number of shards, and peak bytes in memory while writing."""

    bytes: int
    shards: int
    memory: int


@dataclass(frozen=True)
class SitePlan:
    """Feature shape, axis names and stored dtype ("float32", "float16", "bfloat16", "float64") of one site."""

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    dtype: str

    @property
    def torch_dtype(self) -> torch.dtype:
        return _NAMES[self.dtype]

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape) * self.torch_dtype.itemsize


@dataclass(frozen=True)
class Plan:
    """The sites of a recording, how they are stored, and of what.

    Attributes
    ----------
    sites : dict of str to SitePlan
    rows : int
        Expected number of rows; an estimate, used for budgets and for reserving memory.
    shard_rows : int
        Rows per shard file.
    provenance : dict
        Fingerprints of subject, tokenizer and data, versions: JSON values.

    Examples
    --------
    >>> plan = Plan.of({"blocks.0.mlp.out": (64,)}, rows=100_000, dtype=torch.bfloat16)
    >>> plan.estimate()
    Cost(bytes=15400000, shards=1, memory=12800000)
    """

    sites: dict[str, SitePlan]
    rows: int
    shard_rows: int
    provenance: dict[str, Any]

    @classmethod
    def of(
        cls,
        shapes: Mapping[str, tuple[int, ...]],
        *,
        rows: int = 0,
        dtype: torch.dtype | Mapping[str, torch.dtype] = torch.float32,
        axes: Mapping[str, tuple[str, ...]] | None = None,
        shard_rows: int | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> Plan:
        """A plan from the feature shape of every site; `dtype` is one for all or one per site."""
        if not shapes:
            raise UsageError("a recording needs at least one site, got none; see subject.sites().")
        sites = {}
        for name, shape in shapes.items():
            one = dtype[name] if isinstance(dtype, Mapping) else dtype
            if one not in DTYPES:
                raise UsageError(f"values are stored as {', '.join(_NAMES)}; {name!r} asks for {one}.")
            shape = tuple(int(n) for n in shape)
            sites[name] = SitePlan(shape, axes_of(shape, (axes or {}).get(name)), str(one).removeprefix("torch."))
        row_bytes = sum(site.row_bytes for site in sites.values())
        shard_rows = max(1, SHARD_BYTES // max(1, row_bytes)) if shard_rows is None else shard_rows
        if shard_rows < 1:
            raise UsageError(f"shard_rows must be at least 1, got {shard_rows}.")
        return cls(sites, int(rows), int(shard_rows), dict(provenance or {}))

    @property
    def axes(self) -> dict[str, tuple[str, ...]]:
        """Feature axes of every site."""
        return {name: site.axes for name, site in self.sites.items()}

    @property
    def row_bytes(self) -> int:
        """Bytes of values per row, all sites."""
        return sum(site.row_bytes for site in self.sites.values())

    def estimate(self) -> Cost:
        """Bytes, shards and memory of the whole recording on disk."""
        shards = math.ceil(self.rows / self.shard_rows)
        memory = min(SHARDS_IN_MEMORY, max(shards, 1)) * min(self.shard_rows, max(self.rows, 1)) * self.row_bytes
        return Cost(self.rows * (self.row_bytes + INDEX_BYTES), shards, memory)

    @property
    def fingerprint(self) -> str:
        """Hash of everything but the expected number of rows."""
        from microtome.io import dump_json, hash_bytes

        return hash_bytes(dump_json({k: v for k, v in self.to_json().items() if k != "rows"}))

    def check(self, values: Mapping[str, Tensor]) -> int:
        """The number of rows of a batch, after checking that it has exactly the planned sites and shapes."""
        for name in values:
            if name not in self.sites:
                raise SiteError(f"the plan has no site {name!r}; it has {list(self.sites)}.{nearest(name, self.sites)}")
        lengths = set()
        for name, site in self.sites.items():
            if name not in values:
                raise SiteError(f"the batch lacks site {name!r} of the plan; it has {list(values)}.")
            found = tuple(values[name].shape)
            if found[1:] != site.shape:
                raise ShapeError(f"{name!r} has shape {found}, the plan says {('rows', *site.shape)}.")
            lengths.add(found[0])
        if len(lengths) != 1:
            raise ShapeError(f"the sites of one batch differ in rows: {sorted(lengths)}.")
        return lengths.pop()

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` reads them back."""
        return {
            "sites": [
                {"name": name, "shape": list(site.shape), "axes": list(site.axes), "dtype": site.dtype}
                for name, site in self.sites.items()
            ],
            "rows": self.rows,
            "shard_rows": self.shard_rows,
            "provenance": self.provenance,
        }

    @classmethod
    def from_json(cls, found: Any) -> Plan:
        """A plan from what `to_json` wrote; anything else is a FormatError."""
        try:
            sites = found["sites"]
            plan = cls.of(
                {site["name"]: tuple(site["shape"]) for site in sites},
                rows=found["rows"],
                dtype={site["name"]: _NAMES[site["dtype"]] for site in sites},
                axes={site["name"]: tuple(site["axes"]) for site in sites},
                shard_rows=found["shard_rows"],
                provenance=found["provenance"],
            )
        except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
            raise FormatError(f"the plan of this recording cannot be read: {error!r}. Record it again.") from error
        if plan.to_json() != found:
            raise FormatError("the plan of this recording holds values that no plan has. Record it again.")
        return plan



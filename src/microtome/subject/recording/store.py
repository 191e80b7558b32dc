"""Where the values of a recording live, behind one small protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from microtome.errors import ShapeError, SubjectMismatch
from microtome.subject.recording.checks import check_finite
from microtome.subject.recording.layout import as_values

#: Rows encoded at once by `EncodedStore`; bounds memory, not a result.
ENCODE_ROWS = 16384


class Store(Protocol):
    """Values of sites over rows. `read` may return a view: callers do not write to it."""

    rows: int
    sites: tuple[str, ...]

    def shape(self, site: str) -> tuple[int, ...]:
        """Feature axes of the site, without the rows."""
        ...

    def dtype(self, site: str) -> torch.dtype:
        """How the values are stored."""
        ...

    def read(self, site: str, start: int, stop: int) -> Tensor:
        """Rows start to stop: Tensor[stop - start, *shape]."""
        ...

    def gather(self, site: str, rows: np.ndarray) -> Tensor:
        """The given rows in the given order: Tensor[len(rows), *shape]."""
        ...


class MemoryStore:
    """Tensors in memory, shared with whoever made them."""

    where = "in memory"

    @classmethod
    def of(cls, arrays: Mapping[str, Any]) -> MemoryStore:
        """Arrays of sites that share their rows, checked to be finite."""
        tensors = {name: as_values(name, array) for name, array in arrays.items()}
        if len({len(tensor) for tensor in tensors.values()}) != 1:
            found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
            raise ShapeError(f"a recording needs sites that share their rows, found {found}.")
        for name, tensor in tensors.items():
            check_finite(name, tensor)
        return cls(tensors)

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = dict(tensors)
        self.sites = tuple(self._tensors)
        self.rows = len(next(iter(self._tensors.values())))

    def shape(self, site: str) -> tuple[int, ...]:
        return tuple(self._tensors[site].shape[1:])

    def dtype(self, site: str) -> torch.dtype:
        return self._tensors[site].dtype

    def read(self, site: str, start: int, stop: int) -> Tensor:
        return self._tensors[site][start:stop]

    def gather(self, site: str, rows: np.ndarray) -> Tensor:
        return self._tensors[site][torch.from_numpy(rows)]


class EncodedStore:
    """One site of another store, seen through a basis; encoded when read, never kept."""

    def __init__(self, store: Store, site: str, basis: Any) -> None:
        wanted = getattr(basis, "site", None)
        if wanted not in (None, "", site):
            raise SubjectMismatch(f"the basis belongs to site {wanted!r}, the recording holds {site!r}; use that site.")
        self._store, self._site, self._basis = store, site, basis
        self.rows = store.rows
        self.sites = (f"{site}/{getattr(basis, 'name', None) or type(basis).__name__.lower()}",)
        self.where = f"encoded when read, {getattr(store, 'where', '')}".rstrip(", ")

    def shape(self, site: str) -> tuple[int, ...]:
        return (int(self._basis.dim),)

    def dtype(self, site: str) -> torch.dtype:
        return torch.float64 if self._store.dtype(self._site) == torch.float64 else torch.float32

    def read(self, site: str, start: int, stop: int) -> Tensor:
        return self._encode(stop - start, lambda lo, hi: self._store.read(self._site, start + lo, start + hi))

    def gather(self, site: str, rows: np.ndarray) -> Tensor:
        return self._encode(len(rows), lambda lo, hi: self._store.gather(self._site, rows[lo:hi]))

    def _encode(self, rows: int, part: Callable[[int, int], Tensor]) -> Tensor:
        dtype = self.dtype(self.sites[0])
        out = torch.empty(rows, int(self._basis.dim), dtype=dtype)
        with torch.no_grad():
            for lo in range(0, rows, ENCODE_ROWS):
                hi = min(lo + ENCODE_ROWS, rows)
                out[lo:hi] = self._basis.encode(part(lo, hi).flatten(1).to(dtype))
        return out

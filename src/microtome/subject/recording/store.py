"""Where the values of a recording live, behind one small protocol."""

from __future__ import annotations

from collections.abc import Mapping
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
        return self._encode([(lo, min(lo + ENCODE_ROWS, stop)) for lo in range(start, stop, ENCODE_ROWS)])

    def gather(self, site: str, rows: np.ndarray) -> Tensor:
        return self._encode([rows[lo : lo + ENCODE_ROWS] for lo in range(0, len(rows), ENCODE_ROWS)])

    def _encode(self, pieces: list) -> Tensor:
        width, dtype = int(self._basis.dim), self.dtype(self.sites[0])
        out = torch.empty(sum(_length(p) for p in pieces), width, dtype=dtype)
        done = 0
        for piece in pieces:
            read = self._store.gather if isinstance(piece, np.ndarray) else self._store.read
            values = read(self._site, *(piece if isinstance(piece, tuple) else (piece,)))
            with torch.no_grad():
                codes = self._basis.encode(values.flatten(1).to(dtype))
            out[done : done + len(codes)] = codes
            done += len(codes)
        return out


def _length(piece: tuple[int, int] | np.ndarray) -> int:
    return piece[1] - piece[0] if isinstance(piece, tuple) else len(piece)

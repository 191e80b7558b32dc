"""Several sites of a recording side by side, as one site."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from microtome.subject.recording.store import Store

if TYPE_CHECKING:
    from microtome.subject.recording.recording import Recording


class JoinedStore:
    """One site whose units are those of several sites of another store, in order; joined when read, never kept."""

    def __init__(self, store: Store, parts: Sequence[str]) -> None:
        self._store, self._parts = store, tuple(parts)
        self.rows, self.sites = store.rows, ("+".join(parts),)
        self.where = f"joined when read, {getattr(store, 'where', '')}".rstrip(", ")

    def shape(self, site: str) -> tuple[int, ...]:
        return (sum(prod(self._store.shape(part)) for part in self._parts),)

    def dtype(self, site: str) -> torch.dtype:
        first, *others = (self._store.dtype(part) for part in self._parts)
        for other in others:
            first = torch.promote_types(first, other)
        return first

    def read(self, site: str, start: int, stop: int) -> Tensor:
        return torch.cat([self._store.read(part, start, stop).flatten(1) for part in self._parts], 1)

    def gather(self, site: str, rows: np.ndarray) -> Tensor:
        return torch.cat([self._store.gather(part, rows).flatten(1) for part in self._parts], 1)


def joined(recording: Recording, sites: Sequence[str]) -> Recording:
    """A recording of the one site "a+b+..." whose units are those of `sites`, one after the other.

    Parameters
    ----------
    recording : Recording
    sites : sequence of str
        One gives ``recording[site]``.

    Examples
    --------
    >>> from microtome.subject.recording import Recording
    >>> both = joined(Recording.of({"a": torch.zeros(3, 2), "b": torch.ones(3, 1)}), ["a", "b"])
    >>> both.site, both.matrix()[0].tolist()
    ('a+b', [0.0, 0.0, 1.0])
    """
    part = recording[list(sites)]
    if len(sites) == 1:
        return part
    store = JoinedStore(part._store, part.sites)
    return part._like(store=store, sites=store.sites, axes={store.sites[0]: ("unit",)})

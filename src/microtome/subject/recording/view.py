"""Which stored rows of which sites a recording shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from microtome.errors import SiteError, UsageError, nearest
from microtome.subject.recording.about import About
from microtome.subject.recording.store import Store

V = TypeVar("V", bound="View")


class View:
    """Sites and rows of a store, and a description that is made when it is asked for."""

    def __init__(
        self,
        store: Store,
        describe: Callable[[], About],
        *,
        axes: Mapping[str, tuple[str, ...]],
        provenance: Mapping[str, Any],
        sites: tuple[str, ...] | None = None,
        source: np.ndarray | None = None,
    ) -> None:
        self._store, self._describe, self._axes = store, describe, dict(axes)
        self.sites = store.sites if sites is None else sites
        self.provenance = dict(provenance)
        self._source = source  # for each row the stored row that holds its values; None: the same

    @property
    def site(self) -> str:
        """The name of the one site."""
        if len(self.sites) != 1:
            raise UsageError(f"the recording holds {len(self.sites)} sites; choose one: rec[{self.sites[0]!r}].")
        return self.sites[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and feature axes of the one site."""
        return (len(self), *self._store.shape(self.site))

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the feature axes of the one site."""
        return self._axes[self.site]

    @property
    def dtype(self) -> torch.dtype:
        """How the one site is stored."""
        return self._store.dtype(self.site)

    def __len__(self) -> int:
        return self._store.rows if self._source is None else len(self._source)

    def __getitem__(self: V, site: str | Sequence[str]) -> V:
        """One site, or several of them, over the same rows."""
        wanted = (site,) if isinstance(site, str) else tuple(site)
        for name in wanted:
            if name not in self.sites:
                have = ", ".join(map(repr, self.sites[:6])) + (", ..." if len(self.sites) > 6 else "")
                raise SiteError(f"no site {name!r} in the recording; it holds {have}.{nearest(str(name), self.sites)}")
        return self._like(sites=wanted)

    @cached_property
    def _about(self) -> About:
        return self._describe()

    @property
    def _rows(self) -> np.ndarray:
        return np.arange(len(self)) if self._source is None else self._source

    def _like(self: V, **changes: Any) -> V:
        state = {"store": self._store, "describe": lambda: self._about, "axes": self._axes, "sites": self.sites}
        return type(self)(**(state | {"provenance": self.provenance, "source": self._source} | changes))

    def _read(self, site: str, start: int, stop: int) -> Tensor:
        if self._source is None:
            return self._store.read(site, start, stop)
        return self._stored(site, self._source[start:stop])

    def _gather(self, site: str, rows: np.ndarray) -> Tensor:
        return self._stored(site, rows if self._source is None else self._source[rows])

    def _stored(self, site: str, rows: np.ndarray) -> Tensor:
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
            return self._store.read(site, int(rows[0]), int(rows[-1]) + 1)
        return self._store.gather(site, rows)

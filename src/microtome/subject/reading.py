"""Bases that read other sites than the one they write (transcoders): their inputs are caught on the way.

An edit through such a basis becomes two: one at each site that is read, which only looks, and the edit itself, whose
coordinates are those of what was seen. The written site keeps what the basis does not explain: x' = x + decode(z') - decode(z).
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from microtome.errors import SiteError, UsageError
from microtome.subject.edit import Edit

if TYPE_CHECKING:
    from microtome.subject.subject import Subject


def written(basis: Any) -> str:
    """The site at which edits through a basis are made: the one it writes."""
    writes = getattr(basis, "writes", basis.site)
    if not isinstance(writes, str):
        raise UsageError(f"'{basis.name}' writes the sites {list(writes)}; choose one for an edit: basis.at(...).")
    return writes


def reads_elsewhere(basis: Any) -> tuple[str, ...]:
    """The sites that a basis reads, where they are not just the one it writes; () for an ordinary basis, or for None."""
    reads = tuple(getattr(basis, "reads", ()))
    return () if reads in ((), (getattr(basis, "writes", None),)) else reads


class Caught:
    """A basis whose inputs were seen earlier in the same call."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.site, self.name, self.names = inner, written(inner), inner.name, inner.names
        self.dim, self.width, self.directions = inner.dim, inner.written_width, inner.directions
        self._seen: dict[str, Tensor] = {}

    def watch(self, site: str, channels: bool) -> Callable[[Tensor], Tensor]:
        """A function for the read site: keeps its value and gives it back."""
        width = dict(zip(self.inner.reads, self.inner.widths))[site]

        def look(value: Tensor) -> Tensor:
            rows = value.movedim(1, -1) if channels else value
            self._seen[site] = rows if rows.shape[-1] == width else rows.flatten(-2)
            return value

        return look

    def encode(self, x: Tensor) -> Tensor:
        """The coordinates of what was seen; `x`, the value at the written site, counts where that is read too."""
        seen = self._seen | {self.site: x}
        late = [site for site in self.inner.reads if site not in seen]
        if late:
            raise SiteError(
                f"'{self.name}' reads {late}, which come after '{self.site}' that it writes: no single run has both."
            )
        return self.inner.encode(torch.cat([seen[site] for site in self.inner.reads], -1))

    def decode(self, z: Tensor) -> Tensor:
        """What the coordinates write."""
        return self.inner.decode(z)


def expanded(subject: "Subject", edit: Edit) -> tuple[list[Edit], Edit]:
    """Edits that look at the sites which the edit's basis reads, and the edit itself; both are for one call."""
    reads = reads_elsewhere(edit.basis)
    if not reads:
        return [], edit
    caught = Caught(edit.basis)
    others = [s for s in reads if s != caught.site]
    looks = [Edit(s, "call", caught.watch(s, "channel" in subject.site(s).axes), edit.position) for s in others]
    return looks, replace(edit, basis=caught)  # pyright: ignore[reportArgumentType]


def from_run(subject: "Subject", edit: Edit, values: dict[str, Tensor]) -> Edit:
    """An edit whose reference is measured on the unedited run, with the basis' inputs taken from there."""
    if not reads_elsewhere(edit.basis):
        return edit
    if edit.op != "mean":
        raise UsageError(f"{edit}: through a basis that reads another site, use how='mean' or 'zero', or give value=.")
    caught = Caught(edit.basis)
    for site in reads_elsewhere(edit.basis):
        caught.watch(site, "channel" in subject.site(site).axes)(values[site])
    return replace(edit, basis=caught)  # pyright: ignore[reportArgumentType]


def with_looks(subject: "Subject", sets: Iterable[Iterable[Edit]]) -> list[tuple[Edit, ...]]:
    """Sets of edits with their looks, which come last: a look sees its site after all edits there."""
    out = []
    for edits in sets:
        pairs = [expanded(subject, edit) for edit in edits]
        out.append((*(edit for _, edit in pairs), *(look for looks, _ in pairs for look in looks)))
    return out

"""What a run with cut edges does at each site: writers are compared with the reference, readers are given their mixture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from microtome.subject.hooks import Tap
from microtome.subject.partial import by_position
from microtome.trace.selection import heard
from microtome.trace.wires import Place, Reader, Wires

#: Bytes of streams that are mixed at once: what stays in the caches with its sources.
TILE = 4 * 2**20


@dataclass(frozen=True)
class _Group:
    """A reader with its place and the indices of its nodes among all receivers."""

    place: Place
    reader: Reader
    nodes: range


class Cut:
    """The taps of one pass.

    Parameters
    ----------
    wires : Wires
    reference : sequence of Tensor[n, L, nodes, width]
        Per group of writers, what cut edges carry.
    masks : Tensor[masks, senders, receivers]
        1 = kept; with a gradient, so has everything that follows.

    Attributes
    ----------
    idle : list of int
        Blocks whose MLP nobody hears.
    """

    def __init__(self, wires: Wires, reference: Sequence[Tensor], masks: Tensor) -> None:
        self.wires, self.reference = wires, reference
        self.off = (1 - masks).transpose(1, 2)  # [masks, receivers, senders]
        self.heard = np.ones(masks.shape[2], dtype=bool)
        if not masks.requires_grad:
            kept = (masks != 0).any(dim=0).cpu().numpy() & wires.allowed.numpy()
            self.heard = heard(kept, wires.into)
        groups = list(_groups(wires))
        # A norm behind the heads divides what they write by the spread of all of them: then each counts for the others.
        self.joint = any(w.norm is not None for w in wires.writers)
        self.cut = [g for g in groups if self._is_cut(g)]
        self.quiet = [g for g in groups if not self._hears(g).any()]
        self.idle = [g.place.block for g in self.quiet if len(g.nodes) == 1 and g.reader.nodes[0] is not None
                     and g.place.readers[0] is g.reader]  # fmt: skip
        self.values: dict[str, Tensor] = {}
        self.change: list[Tensor] = []
        self.room: Tensor | None = None
        self.most = max((g.place.upstream for g in self.cut), default=0)
        self.filled = 0

    @property
    def ends_normed(self) -> bool:
        """Whether the last block reads the stream through a norm before its MLP and adds what it writes without one."""
        last = self.wires.places[-2]
        one = last.readers[0]
        return len(one.nodes) == 1 and one.weight is None and last.norm is not None and not self.joint

    def silent(self, subject: Any) -> list[nn.Module]:
        """The projections of which every part is given a mixture, or not heard: what they compute is thrown away."""
        gone = {id(g.reader) for g in (*self.cut, *self.quiet)}
        thrown: dict[nn.Module, bool] = {}
        for group in _groups(self.wires):
            for site in group.reader.sites if group.reader.weight is not None else ():
                module = subject.module.get_submodule(subject.site(site).module)
                thrown[module] = thrown.get(module, by_position(module)) and id(group.reader) in gone
        return [module for module, whole in thrown.items() if whole]

    def taps(self, subject: Any) -> list[Tap]:
        """Streams and writers are watched, readers with a cut edge are replaced."""
        taps: dict[str, Tap] = {}
        count = 0
        for i, writer in enumerate(self.wires.writers):
            count += len(writer.nodes)
            if count <= self.most:
                for site in writer.sites:
                    self._tap(taps, subject, site, self._watch(site, i if site == writer.sites[-1] else None))
        for stream in dict.fromkeys(g.place.stream for g in self.cut):
            self._tap(taps, subject, stream, self._watch(stream, None))
        for group in self.cut:
            for site in group.reader.sites:
                self._tap(taps, subject, site, self._replace(group, site))
        return list(taps.values())

    def _hears(self, group: _Group) -> np.ndarray:
        return self.heard[group.nodes.start : group.nodes.stop]

    def _is_cut(self, group: _Group) -> bool:
        if not self._hears(group).any():
            return False
        off = self.off[:, group.nodes.start : group.nodes.stop, : group.place.upstream]
        return off.requires_grad or bool((off != 0).any())

    def _tap(self, taps: dict[str, Tap], subject: Any, site: str, keep: Any) -> None:
        known = subject.site(site)
        tap = taps.setdefault(known.name, Tap(known))
        before = tap.keep
        if before is None:
            tap.keep = keep
        else:  # one tensor under two names: both look at it

            def both(value: Tensor) -> Tensor | None:
                new = before(value)
                return keep(value if new is None else new) if new is None else new

            tap.keep = both

    def _watch(self, site: str, writer: int | None) -> Any:
        def keep(value: Tensor) -> None:
            self.values[site] = value
            if writer is not None:
                group = self.wires.writers[writer]
                now = group.value(self.values)
                k = len(now) // len(self.reference[writer])
                self._add(group.onto(self.reference[writer].repeat(k, 1, 1, 1) - now).transpose(0, 1))

        return keep

    def _add(self, change: Tensor) -> None:
        """Keep what a group of writers would change: one above the other, or as parts where a gradient is wanted."""
        if self.off.requires_grad:
            self.change.append(change)
            return
        room = change.new_empty(self.most, *change.shape[1:]) if self.room is None else self.room
        room[self.filled : self.filled + len(change)] = change
        self.room = room
        self.filled += len(change)

    def _changes(self, count: int) -> Tensor:
        """What the first `count` senders would change [senders, rows, L, d]."""
        if self.room is not None:
            return self.room[:count]
        self.change = [torch.cat(self.change)]
        return self.change[0][:count]

    def _replace(self, group: _Group, site: str) -> Any:
        def keep(value: Tensor) -> Tensor:
            if "to " + site not in self.values:
                self._read(group.place, _width(group.reader))
            read = self.values.pop("to " + site)  # [rows, L, nodes, width]
            if len(group.reader.sites) == 1:
                return (read[:, :, 0] if value.ndim == 3 else read).reshape(value.shape)
            rest = read.shape[-1] - value.shape[-1]
            parts = read.split([value.shape[-1], rest], -1) if rest else [read]
            if rest:
                self.values["to " + group.reader.sites[1]] = parts[1]
            return parts[0].reshape(value.shape)

        return keep

    def _read(self, place: Place, width: int) -> None:
        """What the cut readers of a place read, those of one width together: queries, keys and values share their sources."""
        groups = [g for g in self.cut if g.place is place and _width(g.reader) == width]
        chosen = [self._chosen(g) for g in groups]
        index = torch.cat([c + g.nodes.start for c, g in zip(chosen, groups)])
        rows = [g.reader.weight[c] for c, g in zip(chosen, groups) if g.reader.weight is not None]
        weight = torch.cat(rows) if rows else None
        read = self._mixed(place, index, weight)
        for group, part, own in zip(groups, read.split([len(c) for c in chosen], 2), chosen):
            part = part if group.reader.bias is None else part + group.reader.bias[own]
            if len(own) < len(group.nodes):
                part = part.new_zeros(*part.shape[:2], len(group.nodes), part.shape[-1]).index_copy(2, own, part)
            self.values["to " + group.reader.sites[0]] = part

    def _chosen(self, group: _Group) -> Tensor:
        """Which nodes of a reader somebody hears: what the others read is not computed."""
        found = self._hears(group) | self.joint
        return torch.from_numpy(np.flatnonzero(found)).to(self.off.device)

    def _mixed(self, place: Place, index: Tensor, weight: Tensor | None) -> Tensor:
        """What the receivers `index` read of the streams that they are given [rows, L, nodes, width]."""
        x, change = self.values[place.stream], self._changes(place.upstream)
        k = len(self.off)
        off = self.off[:, index, : place.upstream]  # [masks, nodes, senders]
        per = len(x) // k
        whole = weight is None or off.requires_grad or x.requires_grad
        rows = per if whole else max(1, TILE // max(1, len(index) * x[0].numel() * x.element_size()))
        folded = weight if weight is None or place.norm is None else place.norm.folded(weight)
        shift = None if weight is None or place.norm is None else weight @ place.norm.bias
        parts = []
        for i in range(0, len(x), per):
            for j in range(i, i + per, rows):
                part = slice(j, min(j + rows, i + per))
                given = x[part] + (off[i // per] @ change[:, part].flatten(1)).unflatten(1, x[part].shape)
                parts.append(_through(place, given, folded))  # [nodes, rows, L, width]
        read = torch.cat(parts, 1)
        return (read if shift is None else read + shift[:, None, None]).permute(1, 2, 0, 3)


def _groups(wires: Wires) -> Iterator[_Group]:
    first = 0
    for place in wires.places:
        for reader in place.readers:
            yield _Group(place, reader, range(first, first + len(reader.nodes)))
            first += len(reader.nodes)


def _width(reader: Reader) -> int:
    """How wide each node reads; 0 where it reads the stream itself."""
    return 0 if reader.weight is None else reader.weight.shape[1]


def _through(place: Place, given: Tensor, folded: Tensor | None) -> Tensor:
    """What nodes read of streams of their own [nodes, rows, L, d], without constants where they read through weights."""
    if folded is None:
        return given if place.norm is None else place.norm(given)
    read = (given.flatten(1, 2) @ folded.transpose(1, 2)).unflatten(1, given.shape[1:3])
    return read if place.norm is None else read / place.norm.spread(given)[..., None]

"""Stations: bases that stand in a network, each reading one site and writing one or several.

A dictionary reads and writes its own site; a transcoder reads the input of an MLP and writes its output; a cross-layer
transcoder writes the outputs of its own and all later MLPs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from microtome.errors import ShapeError, SiteError, UsageError
from microtome.subject.basis import require_same

if TYPE_CHECKING:
    from microtome.subject.basis import Basis


@dataclass(frozen=True)
class Writer:
    """Where the coordinates of a basis go: ``out = z @ table + bias`` (flat units of the site)."""

    site: str
    table: Tensor
    bias: Tensor


@dataclass(frozen=True, eq=False)
class Station:
    """A basis in its place.

    Attributes
    ----------
    basis : Basis
    reads : str
        Canonical name of the site that is encoded.
    writers : tuple of Writer
    skip : Tensor[d_in, d_out] or None
        A linear path past the coordinates.
    """

    basis: "Basis"
    reads: str
    writers: tuple[Writer, ...]
    skip: Tensor | None = None

    @property
    def name(self) -> str:
        """How its units are printed."""
        return f"{self.reads}/{self.basis.name or 'units'}"


@dataclass(frozen=True, eq=False)
class Codes:
    """The active coordinates of a station on one prompt: coordinate `index[i]` at `position[i]` has `value[i]`."""

    position: Tensor
    index: Tensor
    value: Tensor

    def __len__(self) -> int:
        return len(self.index)


def stations(subject: Any, bases: "Iterable[Basis]") -> list[Station]:
    """The places of `bases` in a subject, in the order in which the network reaches what they read.

    Raises
    ------
    UsageError
        When no basis is given, one has no linear decoder, or two write the same site while one of them reads it.
    SiteError, SubjectMismatch, ShapeError
        When a site is not there, a basis belongs to another subject, or its width does not fit the site.
    """
    found = [_station(subject, part) for b in bases for part in _layers(b)]
    if not found:
        raise UsageError("no bases were given: an attribution graph needs a dictionary or transcoder, e.g. one per MLP.")
    reads = [s.reads for s in found]
    twice = sorted({r for r in reads if reads.count(r) > 1})
    if twice:
        raise UsageError(f"two bases read '{twice[0]}'; give one basis per site.")
    order = {name: i for i, name in enumerate(s.name for s in subject.sites())}
    return sorted(found, key=lambda s: order.get(s.reads, 0))


def _layers(basis: Any) -> list[Any]:
    """A cross-layer transcoder as one basis per layer, each writing its own and later layers; others as they are."""
    if not (hasattr(basis, "layers") and callable(getattr(basis, "at", None))):
        return [basis]
    return [_Layer(basis, i) for i in range(basis.layers)]


class _Layer:
    """One layer of a cross-layer transcoder as a basis that reads one site and writes several."""

    W_skip = None

    def __init__(self, whole: Any, layer: int) -> None:
        own = whole.at(layer, layer)
        self.site, self.name, self.names, self.subject = whole.reads[layer], whole.name, None, whole.subject
        self.writes, self.dim, self.width, self.W_enc = whole.writes[layer:], own.dim, own.W_enc.shape[0], own.W_enc
        self.directions = whole.W_dec[layer].flatten(1)
        later = torch.zeros_like(whole.b_dec[layer + 1 :])  # each layer's bias counts once
        self.b_dec = torch.cat([whole.b_dec[layer : layer + 1], later]).flatten()
        self.encode = own.encode


def _station(subject: Any, basis: Any) -> Station:
    if not hasattr(basis, "encode") or not hasattr(basis, "site"):
        raise UsageError(f"bases must be bases (dictionaries, transcoders), got {type(basis).__name__}.")
    reads = tuple(getattr(basis, "reads", None) or (basis.site,))
    if len(reads) != 1:
        raise UsageError(f"basis '{basis.name}' reads {len(reads)} sites at once; attribution graphs need one each.")
    site = subject.site(reads[0])
    fitted = getattr(basis, "subject", "")
    require_same(basis, site=getattr(basis, "writes", basis.site), subject=subject.fingerprint() if fitted else "")
    width = getattr(basis, "width", None)
    if site.shape and width is not None and width != _size(site.shape):
        raise ShapeError(f"basis '{basis.name}' reads {width} units, {site.name} has {_size(site.shape)}.")
    writers = []
    for name, table, bias in _written(subject, basis, site.name):
        target = subject.site(name)
        if target.block is not None and site.block is not None and target.block < site.block:
            raise SiteError(f"basis '{basis.name}' reads {site.name} and writes {target.name}, which comes before it.")
        writers.append(Writer(target.name, table, bias))
    return Station(basis, site.name, tuple(writers), getattr(basis, "W_skip", None))


def _written(subject: Any, basis: Any, reads: str) -> list[tuple[str, Tensor, Tensor]]:
    """Site, table and bias of everything that a basis writes: columns side by side, site by site."""
    table = basis.directions
    if table is None:
        raise UsageError(f"basis '{basis.name}' has no linear decoder, so what its coordinates add cannot be told apart.")
    bias = getattr(basis, "b_dec", None)
    bias = basis.decode(table.new_zeros(basis.dim)) if bias is None else bias
    writes = getattr(basis, "writes", None) or reads
    names = [writes] if isinstance(writes, str) else list(writes)
    sizes = [_size(subject.site(name).shape) for name in names]
    sizes = [table.shape[1]] if len(names) == 1 and not subject.site(names[0]).shape else sizes
    if sum(sizes) != table.shape[1]:
        raise ShapeError(f"basis '{basis.name}' writes {table.shape[1]} units, {', '.join(names)} have {sum(sizes)}.")
    return list(zip(names, table.split(sizes, 1), bias.split(sizes)))


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


def encode(basis: "Basis", x: Tensor, rows: int = 0) -> Codes:
    """Active coordinates of x[position, d], `rows` positions at a time so that the dense code stays small."""
    rows = rows or max(1, 2**24 // max(basis.dim, 1))
    parts = []
    with torch.no_grad():
        for start in range(0, len(x), rows):
            z = basis.encode(x[start : start + rows])
            at = z.nonzero()
            parts.append((at[:, 0] + start, at[:, 1], z[at[:, 0], at[:, 1]]))
    position, index, value = (torch.cat(p) for p in zip(*parts))
    return Codes(position, index, value)


def encoder_rows(basis: Any, index: Tensor, x: Tensor) -> Tensor:
    """The direction that each coordinate `index[i]` reads at x[i]: its gradient there, [n, d].

    Dictionaries and linear bases hold it (`W_enc`, `encoder`); any other basis is differentiated.
    """
    table = getattr(basis, "W_enc", getattr(basis, "encoder", None))
    if isinstance(table, Tensor):
        return table.detach()[:, index].T.to(x)
    rows = max(1, 2**24 // max(basis.dim, 1))
    parts = []
    for start in range(0, len(index), rows):
        part = x[start : start + rows].detach().clone().requires_grad_(True)
        with torch.enable_grad():
            z = basis.encode(part)
            chosen = z[torch.arange(len(part)), index[start : start + rows]]
        parts.append(torch.autograd.grad(chosen.sum(), part)[0])
    return torch.cat(parts) if parts else x

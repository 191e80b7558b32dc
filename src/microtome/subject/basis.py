"""Coordinates on a site: the `Basis` protocol, the bases that need no fitting, and edits through a basis.

A basis maps a site's tensor ``x[..., d]`` to coordinates ``z[..., dim]`` and back. Neurons, heads, principal
components, dictionaries and probes are all bases, so what can be said of one can be said of all.
"""

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from microtome.errors import ShapeError, SubjectMismatch
from microtome.subject.basis_files import load_basis
from microtome.subject.basis_stored import StoredBasis, check_width
from microtome.subject.unit import Unit

__all__ = ["Basis", "Identity", "Linear", "StoredBasis", "Unit", "edit_through", "load_basis", "require_same"]


@runtime_checkable
class Basis(Protocol):
    """What every basis offers. Shapes: x is ``[..., d]``, z is ``[..., dim]``, directions ``[dim, d]`` or None."""

    site: str
    name: str
    names: list[str] | None

    @property
    def dim(self) -> int: ...
    @property
    def directions(self) -> Tensor | None: ...
    @property
    def fingerprint(self) -> str: ...
    def encode(self, x: Tensor) -> Tensor: ...
    def decode(self, z: Tensor) -> Tensor: ...
    def save(self, folder: str | Path) -> None: ...


class Identity(StoredBasis):
    """The units of the site themselves: ``encode(x) = x``."""

    kind = "identity"

    def __init__(self, site: str, width: int, *, names: list[str] | None = None, subject: str = "") -> None:
        self.width = int(width)
        super().__init__(site, names=names, subject=subject)

    @property
    def dim(self) -> int:
        return self.width

    @property
    def directions(self) -> Tensor:
        return torch.eye(self.width)

    def encode(self, x: Tensor) -> Tensor:
        check_width(x, self.width, f"the neurons of '{self.site}'")
        return x

    decode = encode

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def config(self) -> dict[str, Any]:
        return {"width": self.width}

    @classmethod
    def from_parts(cls, tensors: dict[str, Tensor], config: dict[str, Any], **about: Any) -> "Identity":
        about.pop("name", None)
        return cls(about.pop("site"), config["width"], **about)


class Linear(StoredBasis):
    """Affine coordinates: ``z = (x - offset) E`` and ``x = z D + offset``.

    Parameters
    ----------
    site : str
        Where the coordinates live.
    encoder : Tensor[d, dim]
        E; column i reads coordinate i.
    decoder : Tensor[dim, d], optional
        D; row i is the direction written by coordinate i. Default: the pseudo-inverse of E, so that
        decode(encode(x)) is the orthogonal projection on the span.
    offset : Tensor[d], optional
        Subtracted before reading, added after writing. Default 0.
    """

    kind = "linear"

    def __init__(
        self, site: str, encoder: Tensor, decoder: Tensor | None = None, offset: Tensor | None = None, *,
        name: str = "linear", names: list[str] | None = None, subject: str = "",
    ) -> None:  # fmt: skip
        if encoder.ndim != 2:
            raise ShapeError(f"encoder must be [d, dim], got shape {tuple(encoder.shape)}.")
        d, dim = encoder.shape
        # Contiguous, as a saved copy is: matrix products depend on the memory layout in their last bits.
        self.encoder = encoder.detach().contiguous()
        self.decoder = (torch.linalg.pinv(self.encoder) if decoder is None else decoder.detach()).contiguous()
        self.offset = self.encoder.new_zeros(d) if offset is None else offset.detach()
        if self.decoder.shape != (dim, d) or self.offset.shape != (d,):
            found = f"decoder {tuple(self.decoder.shape)}, offset {tuple(self.offset.shape)}"
            raise ShapeError(f"an encoder [{d}, {dim}] needs decoder [{dim}, {d}] and offset [{d}], got {found}.")
        self.width = d
        super().__init__(site, name=name, names=names, subject=subject)

    @property
    def dim(self) -> int:
        return self.encoder.shape[1]

    @property
    def directions(self) -> Tensor:
        return self.decoder

    def encode(self, x: Tensor) -> Tensor:
        check_width(x, self.width, f"basis '{self.name}' at '{self.site}'")
        return (x - self.offset.to(x)) @ self.encoder.to(x)

    def decode(self, z: Tensor) -> Tensor:
        check_width(z, self.dim, f"decode of basis '{self.name}'")
        return z @ self.decoder.to(z) + self.offset.to(z)

    def tensors(self) -> dict[str, Tensor]:
        return {"encoder": self.encoder, "decoder": self.decoder, "offset": self.offset}

    @classmethod
    def from_parts(cls, tensors: dict[str, Tensor], config: dict[str, Any], **about: Any) -> "Linear":
        return cls(about.pop("site"), tensors["encoder"], tensors["decoder"], tensors["offset"], **about)


def edit_through(basis: Basis, x: Tensor, new_z: Tensor, *, z: Tensor | None = None) -> Tensor:
    """Write new coordinates into x and keep exactly what the basis does not explain.

    ``x' = x + (decode(z') - decode(z))``. Cells whose difference is 0 keep their bits, so an edit that changes no
    coordinate returns x bit for bit; through `Identity` the new values themselves are written.

    Parameters
    ----------
    basis : Basis
        The coordinates.
    x : Tensor[..., d]
        The site's tensor.
    new_z : Tensor[..., dim]
        The coordinates wanted.
    z : Tensor[..., dim], optional
        ``basis.encode(x)`` when it is already at hand.
    """
    z = basis.encode(x) if z is None else z
    if new_z.shape != z.shape:
        raise ShapeError(f"new coordinates must have shape {tuple(z.shape)}, got {tuple(new_z.shape)}.")
    if isinstance(basis, Identity):
        return new_z
    change = basis.decode(new_z) - basis.decode(z)
    same = (new_z == z).all(-1, keepdim=True) | (change == 0)
    return torch.where(same, x, x + change)


def require_same(basis: Basis, *, site: str, subject: str = "") -> None:
    """Refuse a basis fitted at another site or on another subject (`subject` is a fingerprint)."""
    where = getattr(basis, "writes", basis.site)
    if where != site:
        raise SubjectMismatch(f"the basis belongs to site '{where}', not '{site}'; refit it or edit at its site.")
    fitted = getattr(basis, "subject", "")
    if subject and fitted and fitted != subject:
        raise SubjectMismatch(f"the basis was fitted on subject {fitted[:12]}, this one is {subject[:12]}; refit it.")

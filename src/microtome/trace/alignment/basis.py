"""Fitted alignments as bases: coordinates of a site with a block for each causal variable."""

from typing import Any

import torch
from torch import Tensor

from microtome.errors import UsageError, nearest
from microtome.subject.basis import Linear
from microtome.subject.basis_stored import StoredBasis, check_width
from microtome.trace.alignment import revnet

Place = int | list[int] | None


class Aligned(StoredBasis):
    """A basis whose coordinates belong to causal variables.

    Attributes
    ----------
    blocks : dict of variable -> list of int
        Coordinates of each variable; the others belong to none.
    position : int, list of int or None
        Where the site is read and written; None = at all positions.
    """

    blocks: dict[str, list[int]]
    position: Place

    def units(self, *variables: str) -> list[int]:
        """Coordinates of the named variables (all without a name), e.g. for ``mt.swap(..., unit=basis.units("left"))``."""
        for v in variables:
            if v not in self.blocks:
                raise UsageError(f"no variable {v!r} in this alignment.{nearest(v, self.blocks)} It has {list(self.blocks)}.")
        return [i for v in (variables or self.blocks) for i in self.blocks[v]]

    def _place(self, blocks: dict[str, list[int]], position: Place) -> None:
        self.blocks = {str(v): [int(i) for i in units] for v, units in blocks.items()}
        self.position = position
        inside = [i for units in self.blocks.values() for i in units]
        if inside and not 0 <= min(inside) <= max(inside) < self.dim:
            raise UsageError(f"blocks name coordinate {max(inside)} of {self.dim}.")

    def config(self) -> dict[str, Any]:
        return {"blocks": [[v, units] for v, units in self.blocks.items()], "position": self.position}


class AlignedLinear(Aligned, Linear):
    """Linear coordinates (a rotation, a subspace, chosen neurons) with a block for each variable."""

    kind = "aligned_linear"

    def __init__(
        self, site: str, encoder: Tensor, blocks: dict[str, list[int]], *, decoder: Tensor | None = None,
        position: Place = None, offset: Tensor | None = None, name: str = "alignment", names: list[str] | None = None,
        subject: str = "",
    ) -> None:  # fmt: skip
        Linear.__init__(self, site, encoder, decoder, offset, name=name, names=names, subject=subject)
        self._place(blocks, position)

    @classmethod
    def from_parts(cls, tensors: dict[str, Tensor], config: dict[str, Any], **about: Any) -> "AlignedLinear":
        return cls(
            about.pop("site"), tensors["encoder"], dict(config["blocks"]), decoder=tensors["decoder"],
            offset=tensors["offset"], position=config["position"], **about,
        )  # fmt: skip


class AlignedRevNet(Aligned):
    """Coordinates of a reversible network; the inverse is exact up to rounding, best in float64."""

    kind = "aligned_revnet"

    def __init__(
        self, site: str, weights: dict[str, Tensor], blocks: dict[str, list[int]], *, position: Place = None,
        name: str = "revnet", names: list[str] | None = None, subject: str = "",
    ) -> None:  # fmt: skip
        self.weights = {k: v.detach() for k, v in weights.items()}
        self.width = 2 * self.weights["inner"].shape[2]
        super().__init__(site, name=name, names=names, subject=subject)
        self._place(blocks, position)

    @property
    def dim(self) -> int:
        return self.width

    @property
    def directions(self) -> None:
        return None

    def encode(self, x: Tensor) -> Tensor:
        check_width(x, self.width, f"basis '{self.name}' at '{self.site}'")
        return revnet.encode(self.weights, x)

    def decode(self, z: Tensor) -> Tensor:
        check_width(z, self.width, f"decode of basis '{self.name}'")
        return revnet.decode(self.weights, z)

    def tensors(self) -> dict[str, Tensor]:
        return self.weights

    @classmethod
    def from_parts(cls, tensors: dict[str, Tensor], config: dict[str, Any], **about: Any) -> "AlignedRevNet":
        return cls(about.pop("site"), tensors, dict(config["blocks"]), position=config["position"], **about)


def names_of(dim: int, blocks: dict[str, list[int]]) -> list[str]:
    """A name for each coordinate: its variable and its place in the block, or "rest"."""
    names = [f"rest[{i}]" for i in range(dim)]
    for variable, units in blocks.items():
        for k, i in enumerate(units):
            names[i] = f"{variable}[{k}]"
    return names


def random_alignment(basis: Aligned, seed: int, draw: int = 0) -> AlignedLinear:
    """A random rotation with blocks of the same sizes: what coordinates that mean nothing give."""
    from microtome.trace.alignment.maps import blocks_of, orthonormal

    sizes = {v: len(units) for v, units in basis.blocks.items()}
    count = min(sum(sizes.values()), basis.width)
    w = orthonormal(basis.width, count, seed, "random alignment", draw)
    blocks = blocks_of(sizes) if count == sum(sizes.values()) else {v: list(range(min(k, count))) for v, k in sizes.items()}
    return AlignedLinear(basis.site, w, blocks, decoder=w.T.contiguous(), position=basis.position, name="random")


def interchanged(basis: Any, base: Tensor, sources: dict[str, Tensor], chosen: dict[str, Tensor]) -> Tensor:
    """Base values with the hard blocks of the chosen variables from their sources (Basis protocol, nothing fitted)."""
    from microtome.subject.basis import edit_through

    z = basis.encode(base)
    new = z.clone()
    for variable, source in sources.items():
        units = torch.as_tensor(basis.blocks[variable], dtype=torch.long)
        taken = chosen[variable].reshape(-1, *[1] * (z.ndim - 1))
        new[..., units] = torch.where(taken, basis.encode(source)[..., units], new[..., units])
    return edit_through(basis, base, new, z=z)

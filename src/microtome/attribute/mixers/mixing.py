"""A token mixer at one input as a linear map: what every position adds to every other, exactly."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from microtome.errors import ShapeError


@dataclass(frozen=True, eq=False)
class Mixing:
    """``out_i = s_i * sum_j sum_g H_g[i, j] (v_{j,g} W_g) + rest_i``, with everything that depends on the data held as it is.

    Groups g are heads (attention) or channels (state spaces, linear recurrences).

    Attributes
    ----------
    matrix : Tensor[n, group, position, source]
        H: the implicit attention of the whole mixer.
    value : Tensor[n, source, group, unit]
        v: what is mixed.
    write : Tensor[group, unit, width]
        W: the output projection.
    rest : Tensor[n, position, width]
        Biases: what belongs to no position.
    inner : Tensor[n, group, position, source] or None
        The recurrence alone, without convolution and gates; None where H has no parts.
    scale : Tensor[n, position, width] or None
        s: a layer scale or norm behind the projection, held.
    """

    matrix: Tensor
    value: Tensor
    write: Tensor
    rest: Tensor
    inner: Tensor | None = None
    scale: Tensor | None = None

    def __post_init__(self) -> None:
        n, groups, length, source = self.matrix.shape
        if self.value.shape[:3] != (n, source, groups) or self.write.shape[:2] != (groups, self.value.shape[3]):
            raise ShapeError(
                f"a mixing of {groups} groups over {source} positions needs values [{n}, {source}, {groups}, unit] and "
                f"{groups} projections, got {list(self.value.shape)} and {list(self.write.shape)}."
            )
        if self.rest.shape != (n, length, self.write.shape[2]):
            raise ShapeError(f"rest must be [{n}, {length}, {self.write.shape[2]}], got {list(self.rest.shape)}.")

    def parts(self, rows: Tensor | None = None) -> Tensor:
        """``T_i(x_j)`` [n, position, source, width]; of one position per example [n, source, width] with `rows` [n]."""
        written = torch.einsum("njgu,gud->njgd", self.value, self.write)
        if rows is not None:
            at = torch.arange(len(rows))
            found = torch.einsum("ngj,njgd->njd", self.matrix[at, :, rows], written)
            return found if self.scale is None else found * self.scale[at, rows][:, None]
        found = torch.einsum("ngij,njgd->nijd", self.matrix, written)
        return found if self.scale is None else found * self.scale[:, :, None]

    @property
    def out(self) -> Tensor:
        """The mixer's output [n, position, width]: all parts and the rest."""
        mixed = torch.einsum("ngij,njgu,gud->nid", self.matrix, self.value, self.write)
        return (mixed if self.scale is None else mixed * self.scale) + self.rest

    def recurrence(self) -> "Mixing":
        """The same with the recurrence alone in the place of H; its parts no longer add up to the output."""
        return replace(self, matrix=self.matrix if self.inner is None else self.inner)


def norms(parts: Tensor, p: float = 2.0) -> Tensor:
    """Length of each part: [..., source, width] -> [..., source]."""
    return parts.norm(p=p, dim=-1)


def closeness(parts: Tensor, total: Tensor, p: float = 1.0) -> Tensor:
    """ALTI: how much nearer to the output each part brings: ``max(0, |y|_p - |y - T_j|_p)``, as shares over the sources.

    [..., source, width] and [..., width] -> [..., source].
    """
    gain = (total.norm(p=p, dim=-1)[..., None] - (total[..., None, :] - parts).norm(p=p, dim=-1)).clamp(min=0)
    return shares(gain)


def shares(weights: Tensor) -> Tensor:
    """Rows that add up to 1 (rows of zeros stay)."""
    return weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)


def rollout(maps: list[Tensor]) -> Tensor:
    """The product of the layers' maps [n, position, source], the last on the left: from the top down to the first input."""
    total = maps[0]
    for one in maps[1:]:
        total = one @ total
    return total

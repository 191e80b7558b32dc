"""Sites: named tensors inside a subject, and the views that show them with named axes.

A `SiteSpec` says where a tensor is (module path, input or output, which part); a `View` turns the raw tensor of a
module into the site's shape and back, so that reading and writing are exact inverses.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from microtome.errors import ShapeError

Where = Literal["input", "output", "pattern", "gate"]
Layout = Literal["whole", "qkv", "interleaved", "halves"]


@dataclass(frozen=True)
class SiteSpec:
    """One row of an architecture table.

    Attributes
    ----------
    path : str
        Module path relative to the block (block sites) or to the stack's root (others). "" is the block itself.
    at : {"input", "output", "pattern"}
        First input of the module, its (first) output, or the attention weights that it computes.
    heads : {"", "heads", "kv_heads"}
        Which head count splits the last axis; "" leaves it whole.
    layout : {"whole", "qkv", "interleaved", "halves"}
        How several sites share one tensor: "qkv" = [q | k | v] concatenated (grouped keys allowed), "interleaved" =
        each head holds its own q, k, v in turn (GPT-NeoX), "halves" = [gate | up].
    part : int
        Which of the parts, counted from 0.
    carried : bool
        The residual connection carries this same tensor past the module, so writes go into it in place: a replaced
        input would change the sublayer only and leave the stream as it was.
    flat : bool
        The module sees batch and position merged into one axis (OPT's feed-forward).
    axes : tuple of str
        Names of the axes where they are not the usual ones, e.g. ("batch", "unit") for a pooled output.
    """

    path: str
    at: Where = "output"
    heads: Literal["", "heads", "kv_heads"] = ""
    layout: Layout = "whole"
    part: int = 0
    carried: bool = False
    flat: bool = False
    axes: tuple[str, ...] = ()


@dataclass(frozen=True)
class View:
    """The site's window on a module's tensor: `get` reads it, `put` returns the tensor with the window replaced."""

    heads: int = 0
    start: int = 0
    stop: int = 0
    interleaved: int = 0
    part: int = 0
    flat: bool = False
    carried: bool = False

    @property
    def whole(self) -> bool:
        """Whether the window is the tensor itself."""
        return not (self.heads or self.stop or self.interleaved or self.flat)

    def get(self, tensor: Tensor, length: int | None = None) -> Tensor:
        """[..., width] -> the site's tensor: [..., units] or [..., head, units].

        `length` is the number of positions that the module sees in this call; only a `flat` view needs it.
        """
        if self.flat:
            if not length:
                raise ShapeError("This module merges batch and position: get(tensor, length) needs the positions.")
            return tensor.unflatten(0, (-1, length))
        if self.whole:
            return tensor
        if self.interleaved:
            return tensor.unflatten(-1, (self.heads, self.interleaved, -1))[..., self.part, :]
        window = tensor[..., self.start : self.stop] if self.stop else tensor
        return window.unflatten(-1, (self.heads, -1)) if self.heads else window

    def put(self, tensor: Tensor, value: Tensor) -> Tensor:
        """The module's tensor with the window set to `value`.

        The given tensors are left as they are, with one exception: where the residual connection carries the same
        tensor past the module (`carried`), `tensor` itself is overwritten and returned, so that the stream changes too.
        """
        if self.carried:
            return tensor.copy_(value.flatten(0, 1) if self.flat else value)
        if self.flat:
            return value.flatten(0, 1)
        if self.whole:
            return value
        if self.interleaved:
            parts = list(tensor.unflatten(-1, (self.heads, self.interleaved, -1)).unbind(-2))
            parts[self.part] = value
            return torch.stack(parts, dim=-2).flatten(-3)
        flat = value.flatten(-2) if self.heads else value
        if not self.stop:
            return flat
        return torch.cat([tensor[..., : self.start], flat, tensor[..., self.stop :]], dim=-1)


@dataclass(frozen=True)
class Site:
    """A named tensor inside a subject.

    Attributes
    ----------
    name : str
        Canonical name, e.g. ``blocks.3.attn.z``, or a module path.
    module : str
        Path of the module that owns the tensor.
    at : {"input", "output", "pattern", "gate"}
    axes : tuple of str
        Names of the axes, e.g. ("batch", "position", "head", "unit"). Empty when only a run can tell.
    shape : tuple of int
        Sizes of the feature axes (all after batch and position); empty when only a run can tell.
    block : int or None
        Index of the block that holds it, for suffix replay.
    stack : str
        Name of the stack ("" for single-stack models, else "encoder", "decoder", "vision", "text").
    gate : str
        Which gate of a recurrent layer, e.g. "l0.i" (`at` is "gate" then).
    """

    name: str
    module: str
    at: Where
    view: View = View()
    axes: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    block: int | None = None
    stack: str = ""
    gate: str = ""

    def axes_of(self, tensor: Tensor) -> tuple[str, ...]:
        """The axes of a tensor read here; inferred from the rank where the table does not say."""
        if self.axes and len(self.axes) == tensor.ndim:
            return self.axes
        return RANKS.get(tensor.ndim, ("batch", *(f"axis{i}" for i in range(1, tensor.ndim))))

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        sizes = ", ".join(map(str, self.shape)) or "?"
        return f"Site({self.name}: {' x '.join(self.axes) or 'axes known after a run'}; {sizes})"


#: Axes of tensors at plain module paths, by rank.
RANKS = {
    1: ("batch",),
    2: ("batch", "unit"),
    3: ("batch", "position", "unit"),
    4: ("batch", "channel", "y", "x"),
    5: ("batch", "channel", "z", "y", "x"),
}

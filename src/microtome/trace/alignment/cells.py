"""Which cells of a site's tensor are interchanged, and their values with the features last."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from microtome.subject.site import Site


@dataclass(frozen=True)
class Cells:
    """Cells of a site as values [b, ..., d]: units, heads side by side, or the channels of each place.

    Attributes
    ----------
    site : Site
    columns : LongTensor[n, m] or None
        Absolute positions of each base input; None = everywhere.
    start : int
        First position that the tensors hold.
    """

    site: Site
    columns: Tensor | None
    start: int = 0

    def window(self, start: int) -> "Cells":
        """The same cells of tensors that begin at position `start`."""
        return replace(self, start=start)

    def read(self, tensor: Tensor, rows: Tensor) -> Tensor:
        """Values [b, d], [b, m, d] or [b, places, d] of the cells."""
        flat = self.fold(tensor)
        if self.columns is None:
            return flat
        columns = self.columns[rows] - self.start
        found = flat[torch.arange(len(flat))[:, None], columns]
        return found[:, 0] if columns.shape[1] == 1 else found

    def write(self, tensor: Tensor, values: Tensor, rows: Tensor) -> Tensor:
        """`tensor` with the cells set; differentiable in `values`."""
        values = values.to(tensor.dtype)
        if self.columns is None:
            return self.unfold(values).reshape(tensor.shape)
        flat = self.fold(tensor)
        if flat.shape[1] == 1:
            return values.reshape(tensor.shape)
        columns = self.columns[rows] - self.start
        new = flat.index_put((torch.arange(len(flat))[:, None], columns), values.reshape(*columns.shape, -1))
        return new.reshape(tensor.shape)

    def fold(self, tensor: Tensor) -> Tensor:
        """The features as last axis."""
        axes = self.site.axes_of(tensor)
        if "channel" in axes:
            return tensor.movedim(axes.index("channel"), -1)
        return tensor.flatten(-2) if "head" in axes and axes[-1] == "unit" else tensor

    def unfold(self, values: Tensor) -> Tensor:
        """Back to the axes of the site, for whole tensors."""
        image = self.site.axes_of(values.movedim(-1, 1)) if values.ndim > 3 else ()
        return values.movedim(-1, 1) if "channel" in image else values

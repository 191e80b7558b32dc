"""Positions: what the user's numbers mean in a padded batch, during generation, and in a replayed window."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from microtome.errors import ShapeError, UsageError

#: None = all; int = that token of each example (negative from its end); sequence of int = those tokens of each example;
#: tensor [n] or [n, m] = one (or m) own token(s) for each example.
Position = int | Sequence[int] | Tensor | None


@dataclass(frozen=True)
class Frame:
    """Where the real tokens of a batch are, and which window of it a module sees now.

    Attributes
    ----------
    start, stop : Tensor[n]
        First real position and one past the last of each example (padding excluded).
    length : int
        Width of the whole batch.
    offset : int
        Absolute position of the window's first column (generation with a cache, or a replayed suffix).
    growing : bool
        Whether the sequences may still grow (generation): positions past their end are then not wrong, only not there yet.
    """

    start: Tensor
    stop: Tensor
    length: int
    offset: int = 0
    growing: bool = False

    @classmethod
    def full(cls, rows: int, length: int, offset: int = 0) -> "Frame":
        """A frame without padding."""
        return cls(torch.zeros(rows, dtype=torch.long), torch.full((rows,), length + offset), length, offset)

    @classmethod
    def of_mask(cls, mask: Tensor) -> "Frame":
        """From an attention mask [n, length] whose real tokens are contiguous."""
        mask = mask.detach().to("cpu", torch.long)
        start = mask.argmax(dim=1)
        return cls(start, start + mask.sum(dim=1), mask.shape[1])

    def resolve(self, position: Position) -> Tensor | None:
        """Absolute positions [n, m] of each example; None for all positions.

        Raises
        ------
        UsageError
            When a position is outside an example.
        """
        if position is None:
            return None
        rows = len(self.start)
        wanted = _as_table(position, rows)
        absolute = torch.where(wanted < 0, self.stop[:, None] + wanted, self.start[:, None] + wanted)
        bad = (absolute < self.start[:, None]) | (absolute >= self.stop[:, None])
        if bad.any() and not self.growing:
            i, j = (int(v) for v in bad.nonzero()[0])
            count = int(self.stop[i] - self.start[i])
            raise UsageError(
                f"position {int(wanted[i, j])} does not exist in example {i}, which has {count} tokens "
                f"(0..{count - 1}, or -1..-{count} from the end)."
            )
        return absolute

    def fitted(self, rows: int, width: int) -> "Frame":
        """This frame where it describes `width` columns, else one without padding: patches of an image, an encoder's steps."""
        if self.length == width and len(self.start) == rows:
            return self
        if self.offset:
            return self
        return Frame(torch.zeros(rows, dtype=torch.long), torch.full((rows,), width), width, 0, self.growing)

    def window(self, offset: int, length: int) -> "Frame":
        """The same batch seen through a window that starts at `offset`."""
        return Frame(self.start, self.stop, length, offset, self.growing)


def _as_table(position: Position, rows: int) -> Tensor:
    """Positions as given, as a table [rows, m]."""
    if isinstance(position, Tensor):
        if position.is_floating_point() or position.dtype == torch.bool:
            raise UsageError(f"a position tensor must hold integers, got {position.dtype}. From a mask: mask.nonzero().")
        table = position.detach().to("cpu", torch.long)
        table = table[:, None] if table.ndim == 1 else table
        if table.ndim != 2 or table.shape[0] != rows:
            raise ShapeError(
                f"a position tensor needs one row per example: [{rows}] or [{rows}, m], got {list(position.shape)}. "
                "Use an int or a list for the same positions in every example."
            )
        return table
    if isinstance(position, (bool, str)) or not isinstance(position, (int, Sequence)):
        raise UsageError(f"position must be None, an int, a list of ints or a tensor, got {position!r}.")
    listed = [position] if isinstance(position, int) else [int(p) for p in position]
    if not listed:
        raise UsageError("position is empty: the edit would address no cell. Use None for all positions.")
    return torch.tensor(listed, dtype=torch.long).expand(rows, -1)

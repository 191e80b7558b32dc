"""Weights as users hold them (a basis, a parameter, an array), checked: finite float64 matrices."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.errors import Degenerate, NonFinite, ShapeError, UsageError


def matrix_of(values: Any, name: str, *, least: int = 1) -> Tensor:
    """Tensor[rows, columns] in float64 on the CPU; of a basis its directions.

    Raises
    ------
    UsageError
        When `values` holds no numbers, or is a basis without directions.
    ShapeError
        When it is no matrix of at least `least` rows.
    NonFinite
        When it holds NaN or infinity.
    """
    if hasattr(values, "directions"):
        values = values.directions
    if not isinstance(values, (Tensor, np.ndarray, list, tuple)):
        raise UsageError(f"{name} must be a matrix of numbers or a basis with directions, got {type(values).__name__}.")
    x = torch.as_tensor(values).detach().cpu().double()
    if x.ndim != 2 or len(x) < least or not x.shape[1]:
        raise ShapeError(f"{name} must be a matrix of at least {least} rows, got shape {list(x.shape)}.")
    if not bool(torch.isfinite(x).all()):
        raise NonFinite(f"{name} holds NaN or infinite values.")
    return x


def neurons_of(left: Any, right: Any, out: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The three weight blocks of neurons that read two numbers modulo p and write a third, each [neurons, p].

    Raises
    ------
    ShapeError
        When they differ in shape.
    Degenerate
        When a block is 0.
    """
    blocks = [matrix_of(t, name) for t, name in ((left, "left"), (right, "right"), (out, "out"))]
    if len({t.shape for t in blocks}) > 1:
        raise ShapeError(f"left, right and out must be [neurons, p] alike, got {[list(t.shape) for t in blocks]}.")
    if not all(bool(t.any()) for t in blocks):
        raise Degenerate("a block of weights is 0 everywhere: its neurons compute nothing.")
    return blocks[0], blocks[1], blocks[2]


def require_draws(draws: int) -> None:
    """A null needs a draw."""
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise UsageError(f"draws must be an int >= 1, got {draws!r}.")

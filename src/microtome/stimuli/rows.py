"""Choosing rows: one rule for slices, index lists and boolean masks, shared by the nouns that have rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from microtome.errors import UsageError


def row_indices(key: Any, n: int, what: str) -> np.ndarray:
    """Row numbers [k] that `key` (slice, boolean mask [n], or indices; negative from the end) selects out of `n`."""
    if isinstance(key, slice):
        return np.arange(n)[key]
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
        key = [key]
    chosen = np.asarray(key.cpu() if hasattr(key, "cpu") else key)
    if chosen.size == 0:
        return np.zeros(0, dtype=np.int64)
    if chosen.ndim != 1 or chosen.dtype.kind not in "iub":
        raise UsageError(f"rows of {what} are chosen with a slice, integers or a boolean mask, got {key!r}.")
    if chosen.dtype.kind == "b":
        if len(chosen) != n:
            raise UsageError(f"a boolean mask over {what} needs {n} entries, one per row, got {len(chosen)}.")
        return np.flatnonzero(chosen)
    if chosen.min() < -n or chosen.max() >= n:
        outside = int(chosen[(chosen < -n) | (chosen >= n)][0])
        raise UsageError(f"row {outside} does not exist in {what}: it has {n} rows.")
    return chosen.astype(np.int64) % n


def take(values: Any, rows: np.ndarray) -> Any:
    """The `rows` of a list or tensor, in order, as the same kind of container."""
    if isinstance(values, Sequence):
        return [values[i] for i in rows]
    import torch

    return values[torch.as_tensor(rows, device=values.device)]

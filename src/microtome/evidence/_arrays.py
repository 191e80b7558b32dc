"""Turn what users hold (lists, numpy, pandas, torch) into checked float arrays, and say what is wrong when they are not."""

from typing import Any

import numpy as np

from microtome.errors import Degenerate, NonFinite, ShapeError, UsageError

#: Cells of a temporary array that a vectorised loop may hold at once (32 MB of float64).
CELLS = 4_000_000


def as_array(values: Any, name: str) -> np.ndarray:
    """A numpy array of numbers; torch tensors come to the CPU without their gradient."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() and values.element_size() < 4 else values
        values = values.numpy()
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise UsageError(f"{name} must hold real numbers, got dtype {array.dtype}. Pass a list, array or tensor of numbers.")
    return array


def finite(array: np.ndarray, name: str) -> np.ndarray:
    """The array itself, if every value is finite."""
    bad = ~np.isfinite(array)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        place = where[0] if len(where) == 1 else (where if where else "the only value")
        raise NonFinite(
            f"{name} must be finite; {int(bad.sum())} of {bad.size} values are NaN or infinite, the first at {place}. "
            "Drop or repair them before asking."
        )
    return array


def vector(values: Any, name: str, *, least: int = 1) -> np.ndarray:
    """A finite float64 vector [n] with n >= least."""
    array = as_array(values, name)
    if array.ndim != 1:
        raise ShapeError(f"{name} must have shape [n], got {list(array.shape)}. Flatten it, or pass one unit at a time.")
    _enough(len(array), name, least)
    return finite(array.astype(np.float64), name)


def matrix(values: Any, name: str, *, least: int = 1) -> np.ndarray:
    """A finite float64 matrix [rows, units]; a vector becomes one unit."""
    array = as_array(values, name)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise ShapeError(f"{name} must have shape [rows] or [rows, units], got {list(array.shape)}.")
    _enough(len(array), name, least)
    if array.shape[1] == 0:
        raise Degenerate(f"{name} has no units: its shape is {list(array.shape)}. Pass at least one column.")
    return finite(array.astype(np.float64), name)


def codes(values: Any, rows: int, name: str) -> np.ndarray:
    """Integer codes 0..k-1 of a column of group names (documents, clusters, strata, blocks), in sorted order."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    array = np.asarray(values)
    if array.shape != (rows,):
        raise ShapeError(f"{name} must have shape [{rows}], one name per row, got {list(array.shape)}.")
    if array.dtype.kind == "f":
        finite(array, name)
    if array.dtype.kind == "O":
        array = array.astype(str)
    return np.unique(array, return_inverse=True)[1].reshape(-1)


def binary(values: Any, rows: int, name: str) -> np.ndarray:
    """A bool array [rows] or [rows, properties] that holds both classes in every column."""
    array = as_array(values, name)
    if array.ndim not in (1, 2) or array.shape[0] != rows:
        raise ShapeError(f"{name} must have one entry per row: shape [{rows}], got {list(array.shape)}.")
    if array.dtype.kind == "f":
        finite(array, name)
    if not np.isin(array, (0, 1)).all():
        raise UsageError(f"{name} must be True/False or 1/0, found {np.unique(array)[:5].tolist()}.")
    array = array.astype(bool)
    positive = array.sum(0)
    if np.any(positive == 0) or np.any(positive == rows):
        raise Degenerate(f"{name} holds one class only ({np.min(positive)} positive of {rows} rows). Both are needed.")
    return array


def share(value: float, name: str) -> float:
    """A number strictly between 0 and 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating)) or not 0 < value < 1:
        raise UsageError(f"{name} must lie strictly between 0 and 1, got {value!r}.")
    return float(value)


def count(value: int, name: str, least: int = 1) -> int:
    """An integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise UsageError(f"{name} must be an int >= {least}, got {value!r}.")
    return int(value)


def chunks(total: int, width: int) -> list[int]:
    """Sizes that sum to `total`, each keeping size * width below `CELLS`."""
    step = max(1, CELLS // max(1, width))
    return [min(step, total - start) for start in range(0, total, step)]


def _enough(found: int, name: str, least: int) -> None:
    if found < least:
        raise Degenerate(f"{name} needs at least {least} rows, found {found}. Collect more data.")

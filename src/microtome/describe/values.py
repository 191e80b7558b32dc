"""Values of the chosen units of a recording, and their strongest rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from microtome.errors import Degenerate, NonFinite, UsageError

STREAM = 8192


def unit_values(recording: Any, units: Sequence[int] | None) -> tuple[np.ndarray, list[str]]:
    """Values float32 [rows, units] of the one site, streamed, and the names of the units.

    Raises
    ------
    UsageError
        More than one site, or a unit that does not exist.
    NonFinite, Degenerate
        NaN or infinity; no rows.
    """
    if len(recording.sites) != 1:
        raise UsageError(f"one site is described at a time, the recording has {recording.sites}; choose recording[site].")
    if not len(recording):
        raise Degenerate("the recording has no rows, so there is nothing to describe.")
    site, width = recording.sites[0], int(np.prod(recording.shape[1:]))
    chosen = chosen_units(units, width)
    values = np.empty((len(recording), len(chosen)), dtype=np.float32)
    done = 0
    for block in recording.batches(STREAM):
        part = block[:, chosen].float().cpu().numpy()
        bad = ~np.isfinite(part)
        if bad.any():
            row, unit = np.argwhere(bad)[0]
            raise NonFinite(f"{site}[{chosen[unit]}] is {part[row, unit]} in row {done + row}; {int(bad.sum())} such values.")
        values[done : done + len(part)] = part
        done += len(part)
    return values, [f"{site}[{u}]" for u in chosen]


def chosen_units(units: Sequence[int] | None, width: int) -> list[int]:
    """Unit numbers, checked; all when None."""
    if units is None:
        return list(range(width))
    wrong = [u for u in units if isinstance(u, bool) or not isinstance(u, (int, np.integer)) or not 0 <= u < width]
    if wrong or not len(units):
        raise UsageError(f"units are numbers from 0 to {width - 1}, got {wrong[0] if wrong else 'none'!r}.")
    return [int(u) for u in units]


def strongest(values: np.ndarray, rows: np.ndarray, sample: np.ndarray, count: int) -> list[np.ndarray]:
    """For each unit the `count` rows of highest value among `rows`, the highest of each sample only, highest first."""
    order = rows[np.argsort(sample[rows], kind="stable")]
    edges = np.flatnonzero(np.diff(sample[order])) + 1
    peaks = np.stack([part[values[part].argmax(axis=0)] for part in np.split(order, edges)])  # [samples, units]
    height = np.take_along_axis(values, peaks, axis=0)
    best = np.argsort(-height, axis=0, kind="stable")[:count]
    return list(np.take_along_axis(peaks, best, axis=0).T)

"""Windows around the strongest rows of every unit, and around rows of lower bands of its range."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from microtome.describe.rows import Rows
from microtome.describe.values import chosen_units
from microtome.errors import Degenerate, UsageError
from microtome.rng import rng

STREAM = 4096
#: Rows drawn for the lower bands; a band is what lies between two quantiles of these rows.
RESERVOIR = 2048


@dataclass(frozen=True)
class Window:
    """Tokens around one row, with the unit's value at each.

    Attributes
    ----------
    unit : str
        As `Unit` prints it.
    band : str
        "top", or the quantiles between which the value lies, e.g. "0.9-0.99".
    sample, row, peak : int
        Sample and row in the recording, and the row's place within the window.
    tokens : tuple of str
    activations : tuple of float
    """

    unit: str
    band: str
    sample: int
    row: int
    peak: int
    tokens: tuple[str, ...]
    activations: tuple[float, ...]

    @property
    def value(self) -> float:
        """The value at the row that was chosen."""
        return self.activations[self.peak]


def windows(
    recording: Any, *, units: Sequence[int] | None = None, tokens: Sequence[str] | None = None, count: int = 5,
    bands: Sequence[float] = (0.5, 0.9, 0.99), width: int = 16, signs: Sequence[int] | None = None, seed: int = 0,
) -> dict[str, list[Window]]:
    """The windows that show what each unit does: its strongest rows, and rows of lower bands.

    One streamed pass finds, for all units, the highest row of each sample and keeps the best `count`; rows of lower bands
    come from a random draw of rows, the same for all units. A second pass reads the values around them.

    Parameters
    ----------
    recording : Recording
        One site.
    units : sequence of int, optional
        Default: all.
    tokens : sequence of str, optional
        Token texts by id.
    count : int, default 5
        Windows per band, of distinct samples in the top band.
    bands : sequence of float, default (0.5, 0.9, 0.99)
        Quantiles between which lower bands lie.
    width : int, default 16
        Tokens on either side at most.
    signs : sequence of 1 or -1, optional
        -1 turns a unit around: its lowest rows are its top. Default: 1.
    seed : int, default 0
        Draws rows and windows of the lower bands.

    Returns
    -------
    dict of str to list of Window
        By unit, the top band first, values falling within the top band.

    Raises
    ------
    UsageError, Degenerate
        More than one site, unknown units, or options outside their range; no rows.

    Notes
    -----
    Null: a random network has top windows too; they show what is extreme, not that it means something.
    Misleads when only the top band is read: lower bands often show something else.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> where = {"sample": [0, 0, 0, 1, 1, 1], "token": ["a", "b", "c", "d", "e", "f"]}
    >>> found = windows(Recording.of(torch.tensor([[0.0], [5], [1], [0], [0], [9]]), index=where), count=2, bands=(), width=1)
    >>> [(w.tokens, w.value) for w in found["x[0]"]]
    [(('e', 'f'), 9.0), (('a', 'b', 'c'), 5.0)]
    """
    if len(recording.sites) != 1:
        raise UsageError(f"windows are of one site, the recording has {recording.sites}; choose recording[site].")
    if not len(recording):
        raise Degenerate("the recording has no rows, so it has no windows.")
    edges = [float(b) for b in bands]
    if count < 1 or width < 0 or edges != sorted(set(edges)) or any(not 0 <= b <= 1 for b in edges):
        raise UsageError(f"count >= 1, width >= 0 and rising bands within 0 and 1 are needed, got {count}, {width}, {bands}.")
    chosen = chosen_units(units, int(np.prod(recording.shape[1:])))
    sign = np.ones(len(chosen)) if signs is None else np.asarray(signs, dtype=np.float64)
    if sign.shape != (len(chosen),):
        raise UsageError(f"signs need one entry per unit: {len(chosen)} units, {sign.shape} signs.")
    rows = Rows.of(recording, tokens)
    drawn = np.sort(rng(seed, "describe.windows").permutation(len(rows))[:RESERVOIR])
    top, reservoir = _first_pass(recording, rows.sample, chosen, sign.astype(np.float32), count, drawn)
    picks = {("top", u): top[:, u][top[:, u] >= 0] for u in range(len(chosen))}
    for low, high in pairwise(edges):
        for u, found in enumerate(_band(reservoir, drawn, low, high, count, seed)):
            picks[f"{low:g}-{high:g}", u] = found
    return _cut(recording, rows, chosen, picks, width)


def _first_pass(
    recording: Any, sample: np.ndarray, units: list[int], sign: np.ndarray, count: int, drawn: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the `count` highest sample peaks [count, units] (-1 where there are fewer), and the values of drawn rows."""
    number = np.unique(sample, return_inverse=True)[1]
    height = np.full((count, len(units)), -np.inf, dtype=np.float32)
    place = np.full((count, len(units)), -1, dtype=np.int64)
    reservoir = np.empty((len(drawn), len(units)), dtype=np.float32)
    # Samples that later blocks may still raise: their peaks so far.
    last = np.zeros(number.max() + 1, dtype=np.int64)
    np.maximum.at(last, number, np.arange(len(number)))
    waiting: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    done = 0
    for block in recording.batches(STREAM):
        values = block[:, units].float().cpu().numpy() * sign
        part = number[done : done + len(values)]
        inside = (drawn >= done) & (drawn < done + len(values))
        reservoir[inside] = values[drawn[inside] - done]
        for one in np.unique(part):
            here = np.flatnonzero(part == one)
            at = here[values[here].argmax(axis=0)]
            peak, row = np.take_along_axis(values, at[None], axis=0)[0], at + done
            if one in waiting:
                old, old_row = waiting.pop(one)
                peak, row = np.where(old >= peak, old, peak), np.where(old >= peak, old_row, row)
            if last[one] >= done + len(values):
                waiting[one] = peak, row
                continue
            height, place = np.vstack([height, peak]), np.vstack([place, row])
        # Equal peaks are ranked by row, whatever the blocks.
        order = np.lexsort((np.where(place < 0, np.iinfo(np.int64).max, place), -height), axis=0)[:count]
        height, place = np.take_along_axis(height, order, 0), np.take_along_axis(place, order, 0)
        done += len(values)
    return place, reservoir


def _band(reservoir: np.ndarray, drawn: np.ndarray, low: float, high: float, count: int, seed: int) -> list[np.ndarray]:
    """For each unit up to `count` drawn rows whose value lies between two quantiles of the drawn rows."""
    bottom, ceiling = np.quantile(reservoir, [low, high], axis=0)
    inside = (reservoir >= bottom) & (reservoir < ceiling)
    order = rng(seed, "describe.windows", f"{low:g}-{high:g}").permutation(len(drawn))
    return [drawn[np.sort(order[inside[order, u]][:count])] for u in range(reservoir.shape[1])]


def _cut(
    recording: Any, rows: Rows, units: list[int], picks: dict[tuple[str, int], np.ndarray], width: int
) -> dict[str, list[Window]]:
    """Windows of the chosen rows; the values around them come from one more streamed pass."""
    site = recording.sites[0]
    spans, wanted = [], []
    for (band, u), chosen in picks.items():
        for row in chosen:
            span = np.arange(max(0, row - width), min(len(rows), row + width + 1))
            span = span[rows.sample[span] == rows.sample[row]]
            spans.append((band, u, int(row), span))
            wanted.append(np.stack([span, np.full(len(span), u)]))
    pairs = np.concatenate(wanted, axis=1) if wanted else np.zeros((2, 0), dtype=int)
    values, done = np.empty(pairs.shape[1], dtype=np.float64), 0
    for block in recording.batches(STREAM):
        here = np.flatnonzero((pairs[0] >= done) & (pairs[0] < done + len(block)))
        values[here] = block[:, units].float().cpu().numpy()[pairs[0, here] - done, pairs[1, here]]
        done += len(block)
    found: dict[str, list[Window]] = {f"{site}[{u}]": [] for u in units}
    at = 0
    texts = [*rows.texts, ""]
    for band, u, row, span in spans:
        name = f"{site}[{units[u]}]"
        part = tuple(float(v) for v in values[at : at + len(span)])
        words = tuple(texts[t] for t in rows.token[span])
        found[name].append(Window(name, band, int(rows.sample[row]), row, int(np.searchsorted(span, row)), words, part))
        at += len(span)
    return found

"""Disjoint halves of a recording by document: units are chosen on one and judged on the other."""

from typing import Any

import numpy as np

from microtome.errors import Degenerate, UsageError
from microtome.rng import rng


def documents(recording: Any) -> np.ndarray:
    """The document of every row [rows]: rows of one document are not independent."""
    sample = recording.index["sample"].to_numpy()
    table = recording.table
    if "document" not in table.columns:
        return sample
    codes = np.unique(table["document"].to_numpy(), return_inverse=True)[1]
    return codes[sample]


def split(groups: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two boolean masks over rows with no group in both; the first holds about `share` of the groups.

    Raises
    ------
    Degenerate
        With fewer than two groups.
    """
    if not 0 < share < 1:
        raise UsageError(f"share must be between 0 and 1, got {share}.")
    kinds = np.unique(groups)
    if len(kinds) < 2:
        raise Degenerate(f"the recording has {len(kinds)} document; choosing and judging units needs at least 2.")
    order = rng(seed, "split").permutation(kinds)
    first = np.isin(groups, order[: min(max(round(share * len(kinds)), 1), len(kinds) - 1)])
    return first, ~first

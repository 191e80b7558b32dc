"""Which documents are searched and which are kept for judging."""

from typing import Any

import numpy as np

from microtome.errors import Degenerate, UsageError
from microtome.rng import rng


def halves(recording: Any, share: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers to search, row numbers to judge on, and the document of every row; no document is on both sides."""
    if not 0 < share < 1:
        raise UsageError(f"share must be between 0 and 1, got {share}.")
    sample, table = recording.index["sample"].to_numpy(), recording.table
    document = np.unique(table["document"].to_numpy(), return_inverse=True)[1] if "document" in table.columns else None
    group = sample if document is None else document[sample]
    known = np.unique(group)
    if len(known) < 4:
        raise Degenerate(f"the recording has {len(known)} documents; describing on some and judging on others needs 4.")
    drawn = rng(seed, "describe.split").permutation(known)
    searched = np.isin(group, drawn[: min(max(2, round(share * len(known))), len(known) - 2)])
    return np.flatnonzero(searched), np.flatnonzero(~searched), group

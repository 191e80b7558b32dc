"""Disjoint parts of a recording by document: what is chosen or fitted on one is judged on the other."""

from typing import Any

import numpy as np

from microtome.errors import Degenerate, UsageError
from microtome.rng import rng


def documents(recording: Any) -> np.ndarray:
    """The document of every row [rows]: rows of one document are not independent. Without documents, the sample."""
    sample = recording.index["sample"].to_numpy()
    table = recording.table
    if "document" not in table.columns:
        return sample
    return np.unique(table["document"].to_numpy(), return_inverse=True)[1][sample]


def halves(recording: Any, share: float, seed: int, *, fewest: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Which rows to choose on, and the document of every row; no document has rows on both sides.

    Parameters
    ----------
    recording : Recording
    share : float
        Part of the documents that is chosen on.
    seed : int
        Of the draw.
    fewest : int, default 1
        Documents that each side holds at least.

    Returns
    -------
    (chosen bool ndarray [rows], document ndarray [rows])

    Raises
    ------
    UsageError
        When share is not between 0 and 1.
    Degenerate
        With fewer than ``2 * fewest`` documents.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording.recording import Recording
    >>> chosen, document = halves(Recording.of(torch.zeros(10, 2)), 0.3, seed=0)
    >>> int(chosen.sum()), set(document[chosen]) & set(document[~chosen])
    (3, set())
    """
    if not 0 < share < 1:
        raise UsageError(f"share must be between 0 and 1, got {share}.")
    group = documents(recording)
    kinds = np.unique(group)
    if len(kinds) < 2 * fewest:
        raise Degenerate(
            f"the recording has {len(kinds)} document{'' if len(kinds) == 1 else 's'}; fitting on some and judging on "
            f"others needs at least {2 * fewest}."
        )
    order = rng(seed, "split").permutation(kinds)
    return np.isin(group, order[: min(max(round(share * len(kinds)), fewest), len(kinds) - fewest)]), group

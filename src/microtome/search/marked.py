"""Properties marked on a recording: which are asked for, which occur often enough, and bootstraps over documents."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from microtome.errors import UsageError, nearest
from microtome.rng import rng

#: A property needs this many positive and negative rows in each half to be searched.
FEWEST = 5


def properties_of(recording: Any, asked: Sequence[str] | None) -> list[str]:
    """The properties asked for, or all that the recording has."""
    known = list(recording.properties)
    if not known:
        raise UsageError("the recording has no labels; record Stimuli with spans or masks, or recording.add_labels({...}).")
    for name in asked or ():
        if name not in known:
            raise UsageError(f"the recording has no property '{name}'; it has {known[:20]}.{nearest(name, known)}")
    return list(asked) if asked else known


def frequent(labels: np.ndarray) -> np.ndarray:
    """Which columns of labels [rows, properties] are true and false in at least `FEWEST` rows."""
    positives = labels.sum(axis=0)
    return (positives >= FEWEST) & (len(labels) - positives >= FEWEST)


def document_weights(groups: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Bootstrap weights [draws, rows]: documents drawn with replacement."""
    codes = np.unique(groups, return_inverse=True)[1]
    count = int(codes.max()) + 1
    drawn = rng(seed, "bootstrap").multinomial(count, np.full(count, 1 / count), size=draws)
    return drawn[:, codes].astype(np.float64)

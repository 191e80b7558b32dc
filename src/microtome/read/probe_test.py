"""Does a probe read more than chance? Held-out AUROC with an interval over documents and two nulls."""

from typing import Any

import numpy as np

from microtome.evidence import Estimate, Finding, Null, Provenance, auroc
from microtome.read.labelled import labelled
from microtome.rng import rng


def probe_test(
    basis: Any, recording: Any, label: str, *, share: float = 0.5, draws: int = 199, seed: int = 0
) -> Finding:
    """Held-out evidence that a direction tells a property.

    Parameters
    ----------
    basis : Basis
        One coordinate, fitted with the same `share` and `seed` (its fitting documents are not used here).
    recording : Recording
        One site, with labels.
    label : str
        The property.
    share, seed
        As given to the probe.
    draws : int, default 199
        Of the interval and of each null.

    Returns
    -------
    Finding
        Estimate: held-out AUROC, interval over documents. Nulls: labels shifted along the recording; random directions.
    """
    data = labelled(recording, label, share=share, seed=seed)
    import torch

    held = data.x[~data.fit]
    with torch.no_grad():
        score = basis.encode(torch.tensor(held, dtype=torch.float32)).double().numpy()[:, 0]
    y, groups = data.y[~data.fit], data.groups[~data.fit]
    value = float(auroc(score, y))
    kinds = np.unique(groups, return_inverse=True)[1]
    stream = rng(seed, "probe test")
    spread = []
    for _ in range(draws):
        rows = np.concatenate([np.flatnonzero(kinds == k) for k in stream.integers(0, kinds.max() + 1, kinds.max() + 1)])
        if 0 < y[rows].sum() < len(rows):
            spread.append(float(auroc(score[rows], y[rows])))
    shifts = stream.integers(1, len(y), size=draws)
    shifted = np.asarray(auroc(score, np.stack([np.roll(y, k) for k in shifts], axis=1)))
    random = held @ stream.normal(size=(held.shape[1], draws))
    area = np.asarray(auroc(random, y))
    low, high = np.percentile(spread, [2.5, 97.5]) if spread else (value, value)
    return Finding(
        f"'{label}' can be read from {data.site} on unseen samples",
        estimate=Estimate(value, float(min(low, value)), float(max(high, value)), n=len(np.unique(groups)), unit="AUROC",
                          method="document bootstrap"),
        nulls=(Null("labels shifted along the recording", shifted, value, "greater"),
               Null("random directions", np.maximum(area, 1 - area), value, "greater")),
        provenance=Provenance(subject=data.subject, data=str(recording.provenance.get("data", "")), seed=seed),
    )  # fmt: skip

"""A part of a behaviour as a share of the whole, with an interval over prompt groups."""

from collections.abc import Sequence

import numpy as np

from microtome.evidence import Estimate, cluster_bootstrap


def share_of(part: np.ndarray, whole: np.ndarray, groups: Sequence[int], seed: int) -> Estimate:
    """Ratio of means ``mean(part) / mean(whole)``.

    Parameters
    ----------
    part, whole : ndarray[n]
        In units of the metric, prompt by prompt.
    groups : sequence of int
        Prompts that are resampled together.
    seed : int

    Returns
    -------
    Estimate
        The interval is that of the first-order expansion of the ratio around the means; none for a single group.
    """
    scale = float(whole.mean())
    value = float(part.mean() / scale)
    if len(set(groups)) < 2:
        return Estimate(value, n=1, unit="share of the behaviour", method="one group of prompts: no interval")
    linear = part - value * (whole - scale)
    found = cluster_bootstrap(linear / scale, np.asarray(groups), seed=seed)
    return Estimate(
        value, min(found.low, value), max(found.high, value), n=found.n, unit="share of the behaviour",
        method="cluster bootstrap of the ratio",
    )  # fmt: skip

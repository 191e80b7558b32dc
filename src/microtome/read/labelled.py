"""Rows and labels for probes: disjoint documents for fitting and judging, checked once for all probes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from microtome.errors import Degenerate, NonFinite, UsageError, nearest
from microtome.subject.recording.halves import halves


@dataclass(frozen=True)
class Labelled:
    """Rows [n, d] in float64 with labels [n], the document of each row, and the part used for fitting.

    Attributes
    ----------
    site, subject : str
    x : ndarray[n, d]
    y : ndarray[n] of bool
    groups : ndarray[n]
    fit : ndarray[n] of bool
        The other rows are for judging; no document is in both.
    """

    site: str
    subject: str
    x: np.ndarray
    y: np.ndarray
    groups: np.ndarray
    fit: np.ndarray


def labelled(recording: Any, name: str, *, share: float = 0.5, seed: int = 0) -> Labelled:
    """One site's rows with the labels of property `name`, split by document.

    Raises
    ------
    UsageError
        More than one site, or no such property.
    Degenerate
        One class is missing in one of the halves, or there are fewer than two documents.
    NonFinite
        When a value is NaN or infinite.
    """
    sites = list(recording.sites)
    if len(sites) != 1:
        raise UsageError(f"one site is needed, the recording holds {sites}; choose one with recording[site].")
    if name not in recording.properties:
        known = list(recording.properties)
        raise UsageError(f"the recording has no property '{name}'; it has {known[:20]}.{nearest(str(name), known)}")
    x = recording.matrix().double().numpy()
    if not np.isfinite(x).all():
        at = np.argwhere(~np.isfinite(x))
        raise NonFinite(f"'{sites[0]}' holds {len(at)} NaN or infinite values, the first at row {at[0, 0]}, unit {at[0, 1]}.")
    y = np.asarray(recording.labels(name), dtype=bool)
    fit, groups = halves(recording, share, seed)
    for part, what in ((fit, "fitting"), (~fit, "judging")):
        if y[part].all() or not y[part].any():
            raise Degenerate(f"property '{name}' has one class only among the {int(part.sum())} rows for {what}.")
    return Labelled(sites[0], str(recording.provenance.get("subject", "") or ""), x, y, groups, fit)

"""Codes of a basis laid out by sample and place: what patch-level methods share (maps, pooling, pointing, overlap)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from microtome.decompose.data import one_site, survey
from microtome.errors import Degenerate, ShapeError, SubjectMismatch, UsageError, nearest


@dataclass(frozen=True)
class Maps:
    """Activation maps of all latents.

    Attributes
    ----------
    values : ndarray [samples, places, latents]
        Codes, places in the order of the recording.
    rows : ndarray [samples, places]
        Row of the recording of each place.
    sample : ndarray [samples]
        Which sample of the recording's table each is.
    """

    values: np.ndarray
    rows: np.ndarray
    sample: np.ndarray

    def labels(self, recording: Any, name: str) -> np.ndarray:
        """A property of the recording on the same places: bool [samples, places]."""
        if name not in recording.properties:
            have = ", ".join(map(repr, recording.properties)) or "none"
            raise UsageError(
                f"the recording has no property {name!r}; it has {have}. See add_labels.{nearest(name, recording.properties)}"
            )
        return np.asarray(recording.labels(name))[self.rows]

    def take(self, samples: np.ndarray) -> "Maps":
        """The maps of some samples (a mask, or numbers)."""
        return Maps(self.values[samples], self.rows[samples], self.sample[samples])


def checked(recording: Any, basis: Any) -> None:
    """Refuse a recording of several sites, with bad numbers or no variance, and a basis of another site or subject."""
    site, subject = one_site(recording)
    if basis.site != site:
        raise SubjectMismatch(f"the basis belongs to '{basis.site}', the recording holds '{site}'.")
    if subject and getattr(basis, "subject", "") not in ("", subject):
        raise SubjectMismatch(f"the basis was fitted on subject {basis.subject[:12]}, the recording is of {subject[:12]}.")
    survey(recording)


def streamed(recording: Any, basis: Any) -> Iterator[np.ndarray]:
    """Codes [some rows, latents] in float64, in order, a few thousand rows at a time."""
    for x in recording.batches(4096, None):
        with torch.no_grad():
            z = basis.encode(x.to(torch.promote_types(x.dtype, torch.float32)))
        yield z.double().cpu().numpy()


def codes(recording: Any, basis: Any) -> np.ndarray:
    """Codes of every row [rows, latents] of a recording that fits the basis."""
    checked(recording, basis)
    return np.concatenate(list(streamed(recording, basis)))


def maps(recording: Any, basis: Any) -> Maps:
    """Codes by sample and place.

    Raises
    ------
    ShapeError
        When samples differ in their number of places.
    """
    z = codes(recording, basis)
    sample = recording.index["sample"].to_numpy()
    order = np.argsort(sample, kind="stable")
    names, counts = np.unique(sample, return_counts=True)
    if len(set(counts.tolist())) != 1:
        raise ShapeError(
            f"samples have {counts.min()} to {counts.max()} places; maps need one grid for all: record images of one size."
        )
    rows = order.reshape(len(names), -1)
    return Maps(z[rows], rows, names)


def pointing(values: np.ndarray, region: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How often the peak of a map lies in the region, and how often there is a peak.

    Parameters
    ----------
    values : ndarray [samples, places, latents]
    region : bool ndarray [samples, places]

    Returns
    -------
    accuracy, fires : ndarray [latents]
        Over the samples whose region is not empty; accuracy over those where the latent fires (0 where it never does).
        Of several equal peaks the first counts.
    """
    shown = region.any(1)
    if not shown.any():
        raise Degenerate("the region is empty on every sample: nothing can be pointed at.")
    peak, fires = values[shown].argmax(1), values[shown].max(1) > 0
    hit = np.take_along_axis(region[shown], peak, 1) & fires
    count = fires.sum(0)
    return hit.sum(0) / np.maximum(count, 1), count / shown.sum()


def overlap(active: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Intersection over union of two sets of places [...] -> [...] over the last axis; 0 where both are empty."""
    both, either = (active & region).sum(-1), (active | region).sum(-1)
    return both / np.maximum(either, 1)

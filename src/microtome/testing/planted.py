"""Planted recordings: data whose insides are known, and the same data without insides."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from microtome.rng import rng
from microtome.subject.recording import Recording
from microtome.subject.recording.join import joined

FACTORS, WIDTH, SAMPLES, LENGTH = 6, 48, 120, 4
#: Name of the property that the first factor is.
PROPERTY = "planted"


@dataclass(frozen=True)
class Planted:
    """A recording, what it is made of, and the property that its first factor is.

    Attributes
    ----------
    recording : Recording
        ``x = a D + noise``; 120 samples of 4 positions, 48 units; property "planted" where factor 0 is active.
    activations : ndarray [rows, 6]
        a: non-negative, sparse, of six different variances.
    directions : ndarray [6, 48]
        D: non-negative unit vectors that share no unit, so that one answer is right for PCA, ICA, NMF and dictionaries.
    labels : bool ndarray [rows]
        Where factor 0 is active.
    """

    recording: Recording
    activations: np.ndarray
    directions: np.ndarray
    labels: np.ndarray


def planted_recording(seed: int, *, structured: bool = True, site: str = "x") -> Planted:
    """A planted recording; with ``structured=False`` the same truth beside data that has nothing to do with it.

    Parameters
    ----------
    seed : int
        Draws directions, activations and noise.
    structured : bool, default True
        When false every unit is permuted over the rows by itself: same marginals, no factors, and labels that the
        data do not show.
    site : str, default "x"
        Name of the site.

    Returns
    -------
    Planted

    Examples
    --------
    >>> p = planted_recording(0)
    >>> p.recording.matrix().shape, p.directions.shape
    (torch.Size([480, 48]), (6, 48))
    """
    draw = rng(seed, "planted recording")
    rows = SAMPLES * LENGTH
    share = WIDTH // FACTORS
    directions = np.zeros((FACTORS, WIDTH))
    for i in range(FACTORS):
        directions[i, i * share : (i + 1) * share] = draw.uniform(0.5, 1.5, share)
    directions = directions[:, draw.permutation(WIDTH)]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    scale = 1.3 ** np.arange(FACTORS)[::-1]
    active = draw.random((rows, FACTORS)) < 0.25
    activations = active * draw.uniform(0.5, 1.5, (rows, FACTORS)) * scale
    x = activations @ directions + draw.uniform(0, 0.02, (rows, WIDTH))
    if not structured:
        x = draw.permuted(x, axis=0)
    labels = active[:, 0]
    recording = Recording.of(
        torch.from_numpy(x.astype(np.float32)), site=site, index=_index(labels), labels={PROPERTY: labels}
    )
    return Planted(recording, activations, directions, labels)


def _index(labels: np.ndarray) -> dict[str, list]:
    rows = range(len(labels))
    words = ["noun" if yes else "verb" for yes in labels]
    return {"sample": [i // LENGTH for i in rows], "position": [i % LENGTH for i in rows], "token": words}


def with_matrix(recording: Recording, change: Callable[[Tensor], Tensor]) -> Recording:
    """The recording with its matrices changed; index and labels follow, cut to the rows that are left."""
    x = {site: change(recording[site].matrix()) for site in recording.sites}
    rows = len(next(iter(x.values())))
    index = recording.index.iloc[:rows]
    labels = {name: recording.labels(name)[:rows] for name in recording.properties}
    return Recording.of(x, index=index, table=recording.table, labels=labels)


def matrix_read(recording: Recording, basis: object = None) -> Tensor:
    """What a basis reads of a recording: its site, or its sites side by side; without one, the first site."""
    reads = tuple(getattr(basis, "reads", None) or getattr(basis, "sites", ()))
    return joined(recording, [s for s in reads if s in recording.sites] or recording.sites[:1]).matrix()


def matched_correlation(codes: np.ndarray, activations: np.ndarray) -> float:
    """Mean absolute correlation of planted factors with the coordinates matched to them one to one, in [0, 1].

    When there are fewer coordinates than factors, those factors are counted that have a coordinate.
    """
    from scipy.optimize import linear_sum_assignment

    z = codes - codes.mean(0)
    a = activations - activations.mean(0)
    norms = np.linalg.norm(z, axis=0)[:, None] * np.linalg.norm(a, axis=0)[None, :]
    r = np.abs(z.T @ a) / np.where(norms > 1e-12, norms, np.inf)
    chosen = linear_sum_assignment(-r)
    return float(r[chosen].mean())


def matched_cosine(found: np.ndarray, planted: np.ndarray) -> float:
    """Mean absolute cosine of planted directions with those found, matched one to one; as `matched_correlation`."""
    from scipy.optimize import linear_sum_assignment

    norms = np.linalg.norm(found, axis=1, keepdims=True)
    cosines = np.abs((found / np.where(norms > 1e-12, norms, np.inf)) @ planted.T)
    return float(cosines[linear_sum_assignment(-cosines)].mean())


def auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve by ranks, ties counted half; written here so that it owes nothing to the package."""
    from scipy.stats import rankdata

    ranks = rankdata(scores)
    n1 = int(labels.sum())
    n0 = len(labels) - n1
    return float((ranks[labels].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))

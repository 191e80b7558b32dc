"""Facets: groups of the pictures that excite a target, and one picture made for each."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from microtome.attribute.visual.visualisation import Visualisation
from microtome.errors import Degenerate, NonFinite
from microtome.evidence import Finding, Null, Provenance
from microtome.rng import derive, rng

if TYPE_CHECKING:
    import pandas as pd

#: How many facets are tried when their number is not given.
TRIED = range(2, 11)
#: Clouds of one Gaussian that are grouped likewise, for the null.
CLOUDS = 19


@dataclass(frozen=True, eq=False)
class Facets:
    """Groups of real pictures, largest first, and the picture made for each.

    Attributes
    ----------
    made : Visualisation
        One picture per facet; its null are those made from the facets of a twin.
    starts : Tensor[facets, channels, *places]
        The means of the pictures nearest to each centre, where the climbs began.
    labels : ndarray[m]
        Facet of each real picture; -1 for those that were not among the exciting ones.
    plane : ndarray[used, 2]
        Their codes on the two leading components, to be drawn.
    separation : float
        Mean silhouette of the groups.
    chance : ndarray[19]
        The same of clouds drawn from one Gaussian with the mean and covariance of the codes, grouped likewise.
    site : str
        Where the codes were read.
    """

    made: Visualisation
    starts: Tensor
    labels: np.ndarray
    plane: np.ndarray
    separation: float
    chance: np.ndarray
    site: str

    @property
    def shares(self) -> np.ndarray:
        """Share of the exciting pictures in each facet."""
        counts = np.bincount(self.labels[self.labels >= 0], minlength=len(self.made))
        return counts / counts.sum()

    @property
    def table(self) -> "pd.DataFrame":
        """One row per facet: facet, share of the real pictures, and the columns of ``made.table``."""
        table = self.made.table.rename(columns={"picture": "facet"})
        table.insert(1, "share", self.shares)
        return table

    def finding(self, *, alpha: float = 0.05) -> Finding:
        """That there are facets: groups further apart than those that are cut out of one Gaussian cloud."""
        return Finding(
            f"the pictures that excite {self.made.target} fall into {len(self.made)} groups at {self.site}",
            nulls=(Null("codes drawn from one Gaussian", self.chance, self.separation),),
            controls={"silhouette": self.separation, "largest share": float(self.shares.max())},
            table=self.table, alpha=alpha,
            provenance=Provenance(subject=self.made.subject, data=self.made.data, seed=self.made.settings.get("seed")),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.made)

    def __repr__(self) -> str:
        shares = ", ".join(f"{100 * s:.0f}%" for s in self.shares)
        return (f"Facets({len(self)} of {self.made.target} at {self.site}: {shares}; silhouette {self.separation:.2f}, "
                f"{self.chance.mean():.2f} in one cloud)")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Groups:
    """Rows in groups, largest group first."""

    labels: np.ndarray
    centres: np.ndarray
    separation: float


def reduced(codes: np.ndarray, components: int) -> np.ndarray:
    """Codes [m, d] on their leading principal components; constant codes are refused."""
    if not np.isfinite(codes).all():
        raise NonFinite(f"codes hold {int((~np.isfinite(codes)).sum())} values that are not numbers.")
    centred = codes.astype(float) - codes.mean(0)
    if np.abs(centred).max(initial=0.0) <= 1e-9 * max(1.0, float(np.abs(codes).max(initial=0.0))):
        raise Degenerate("the codes of all pictures are the same: the site says nothing of them; name another with at=.")
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    kept = min(components, int((s > 1e-9 * s[0]).sum()))
    return u[:, :kept] * s[:kept]


def grouped(codes: np.ndarray, facets: int | None, seed: int) -> Groups:
    """k-means with the given number of groups, or that of the largest silhouette."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    best: Groups | None = None
    for k in [facets] if facets else [k for k in TRIED if k < len(codes)]:
        state = derive(seed, "facets", k) % 2**32
        labels = KMeans(k, n_init=4, random_state=state).fit_predict(codes)
        found = np.unique(labels)
        if len(found) < k:
            raise Degenerate(f"{len(codes)} pictures have {len(found)} different codes, fewer than {k} facets.")
        apart = float(silhouette_score(codes, labels))
        if best is None or apart > best.separation:
            order = np.argsort(-np.bincount(labels), kind="stable")
            labels = np.argsort(order)[labels]
            centres = np.stack([codes[labels == i].mean(0) for i in range(k)])
            best = Groups(labels, centres, apart)
    assert best is not None  # grouped is only called with more rows than groups
    return best


def clouds(codes: np.ndarray, facets: int, seed: int) -> np.ndarray:
    """Silhouettes of as many groups of as many rows drawn from one Gaussian with the codes' covariance."""
    stream = rng(seed, "clouds")
    spread = codes.std(0)  # principal components are uncorrelated
    return np.array([grouped(stream.standard_normal(codes.shape) * spread, facets, seed).separation for _ in range(CLOUDS)])


def nearest_means(images: Tensor, codes: np.ndarray, groups: Groups, nearest: int) -> Tensor:
    """Mean of the `nearest` pictures to each centre [facets, ...]."""
    import torch

    means = []
    for i, centre in enumerate(groups.centres):
        rows = np.flatnonzero(groups.labels == i)
        near = rows[np.argsort(((codes[rows] - centre) ** 2).sum(1), kind="stable")[:nearest]]
        means.append(images[torch.from_numpy(near).to(images.device)].mean(0))
    return torch.stack(means)

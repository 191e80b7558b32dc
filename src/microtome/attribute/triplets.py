"""Triplets: a root and two images to choose from, placed by how much nearer the first is, at a low and at a high level."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from microtome.attribute.choices import checked_choices, held_out, logistic
from microtome.errors import Degenerate, ShapeError, UsageError, nearest
from microtome.evidence import Estimate, Finding, Null, Provenance, bootstrap
from microtome.rng import rng

SIMILARITIES = ("correlation", "cosine")
#: Half a 95% interval, in standard errors.
HALF = 1.959964


@dataclass(frozen=True, eq=False, repr=False)
class Triplets:
    """Selected triplets of images, and what can be asked with them.

    Attributes
    ----------
    images : int ndarray [n, 3]
        Rows of the recording: root, first, second.
    low, high : ndarray [n]
        ``s(root, first) - s(root, second)`` at the low and the high site.
    sites : (str, str)
        Low, high.
    similarity : str
    chance : ndarray [draws]
        Correlation of low and high over as many random triplets.
    provenance : Provenance
    random : Triplets, optional
        As many random triplets of the same images: the control.
    """

    images: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sites: tuple[str, str]
    similarity: str
    chance: np.ndarray
    provenance: Provenance = field(default_factory=Provenance)
    random: "Triplets | None" = None

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return (
            f"Triplets: {len(self)}, low {self.sites[0]}, high {self.sites[1]}; correlation of the differences "
            f"{self.correlation:.3f}, of random triplets {self.chance.mean():.3f}"
        )

    @property
    def correlation(self) -> float:
        """Pearson's r of the low and the high difference."""
        return pearson(self.low, self.high)

    @property
    def table(self) -> Any:
        """One row per triplet: root, first, second, low, high, conflict (whether the two levels disagree)."""
        import pandas as pd

        names = dict(zip(("root", "first", "second"), self.images.T, strict=True))
        return pd.DataFrame({**names, "low": self.low, "high": self.high, "conflict": self.low * self.high < 0})

    def finding(self) -> Finding:
        """The claim that the two levels are less correlated than over random triplets."""
        size = abs(self.correlation)
        null = Null("random triplets", np.abs(self.chance), size, "less")
        return Finding(
            f"{self.sites[0]} and {self.sites[1]} are decorrelated over {len(self)} triplets",
            estimate=Estimate(size, n=len(self), unit="|r|", method="over the selected triplets"), nulls=(null,),
            controls={"random triplets": float(self.chance.mean()), "conflict": float((self.low * self.high < 0).mean())},
            table=self.table, provenance=self.provenance,
        )  # fmt: skip

    def differences(self, recording: Any) -> np.ndarray:
        """``s(root, first) - s(root, second)`` of the same triplets at the one site of another recording of the images: [n]."""
        s = similarities(recording, self.similarity)
        if self.images.max() >= len(s):
            raise ShapeError(f"the triplets name image {self.images.max()}, the recording has {len(s)}: record the same.")
        return difference(s, self.images)

    def fit(self, choices: Any, *, draws: int = 199, seed: int = 0) -> Finding:
        """Weights of both levels in choices of the image nearer to the root.

        ``P(first) = sigmoid(b0 + b_low d_low + b_high d_high)``, d in units of their standard deviation over the triplets.

        Parameters
        ----------
        choices : bool array [n]
            Whether the first image was chosen.
        draws : int, default 199
            Permutations of the choices over triplets.

        Returns
        -------
        Finding
            The claim that the high level weighs in the choices. Estimate: b_high with its 95% interval (Wald); controls low
            and bias alike. Null: choices permuted.

        Raises
        ------
        Degenerate
            When all choices are the same, or the differences tell them without error.
        ShapeError, UsageError
        """
        y = checked_choices(choices, len(self))
        x = np.column_stack([d / d.std() for d in (self.low, self.high)])
        weights, covariance = logistic(x, y)
        half = HALF * np.sqrt(covariance.diagonal())
        bias, low, high = (
            Estimate(float(w), float(w - h), float(w + h), n=len(y), unit="log-odds per SD", method="Wald")
            for w, h in zip(weights, half, strict=True)
        )
        stream = rng(seed, "triplet choices")
        drawn = [float(logistic(x, stream.permutation(y))[0][2]) for _ in range(draws)]
        return Finding(
            f"choices follow the similarity at {self.sites[1]}", estimate=high,
            nulls=(Null("choices permuted over triplets", drawn, high.value),), controls={"low": low, "bias": bias},
            table=self.table, provenance=self.provenance,
        )  # fmt: skip

    def layers(self, recording: Any, choices: Any, *, folds: int = 5, seed: int = 0) -> Any:
        """How well each site of a recording of the images foresees held-out choices from its own differences alone.

        Returns
        -------
        DataFrame
            A row per site: site, accuracy, log_likelihood (per choice; a coin has -0.693) with low and high (bootstrap over
            triplets).
        """
        import pandas as pd

        y = checked_choices(choices, len(self))
        rows = []
        for site in recording.sites:
            logs = held_out(self.differences(recording[site])[:, None], y, folds=folds, seed=seed)
            found = bootstrap(logs, seed=seed)
            rows.append({"site": str(site), "accuracy": float((logs > np.log(0.5)).mean()), "log_likelihood": found.value,
                         "low": found.low, "high": found.high})  # fmt: skip
        return pd.DataFrame(rows)


def similarities(recording: Any, kind: str) -> np.ndarray:
    """Similarity of all pairs of rows at the one site of a recording, units standardised over the rows: float64 [n, n].

    Raises
    ------
    UsageError
        For an unknown similarity, or several rows per image.
    Degenerate
        When no unit varies, or an image's standardised values do not (correlation) or are zero (cosine).
    """
    import torch

    from microtome.subject.recording.checks import check_finite

    if kind not in SIMILARITIES:
        raise UsageError(f"similarity must be one of {SIMILARITIES}, got {kind!r}.{nearest(str(kind), SIMILARITIES)}")
    if recording.index["sample"].duplicated().any():
        raise UsageError(f"{recording.site} has several rows per image; record with positions='mean', or flatten its map.")
    values = recording.matrix(torch.float64).detach().cpu()
    check_finite(recording.site, values)
    x = values.numpy()
    spread = x.std(0)
    varies = spread > 1e-9 * np.abs(x).max(0, initial=0.0)
    if not varies.any():
        raise Degenerate(f"no unit of {recording.site} varies over the {len(x)} images: all of them are alike.")
    x = (x - x.mean(0))[:, varies] / spread[varies]
    x = x - x.mean(1, keepdims=True) if kind == "correlation" else x
    size = np.linalg.norm(x, axis=1)
    if (size <= 1e-9).any():
        raise Degenerate(f"image {int(size.argmin())} lies at the mean of {recording.site}: no {kind} with it is defined.")
    x = x / size[:, None]
    return x @ x.T


def difference(s: np.ndarray, images: np.ndarray) -> np.ndarray:
    """How much more similar the root is to the first image than to the second: [n]."""
    root, first, second = images.T
    return s[root, first] - s[root, second]


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r; Degenerate when one does not vary."""
    if min(a.std(), b.std()) <= 1e-12:
        raise Degenerate("differences do not vary over the triplets, so they have no correlation.")
    return float(np.corrcoef(a, b)[0, 1])

"""Class latents of a patch dictionary: which latents follow a label, and do they point at the region it is about?"""

from typing import Any

import numpy as np

from microtome.decompose.data import require_count
from microtome.decompose.places import maps, pointing
from microtome.errors import Degenerate, UsageError
from microtome.evidence import Estimate, Finding, Null, Provenance, auroc
from microtome.method import Paper, method
from microtome.rng import rng

#: Samples with and without the label that are needed.
FEWEST = 5


@method(
    question="decompose",
    paper=Paper(
        "Nakka", 2025, "Mammo-SAE: Interpreting Breast Cancer Concept Learning with Sparse Autoencoders",
        "https://arxiv.org/abs/2507.15227",
    ),
    needs=("recording", "basis", "labels"),
    gives="Finding",
    stochastic=True,
    cost="O(rows * latents * d) to encode, O(draws * samples * latents) for the nulls; no forward passes",
    claim="Latents that follow a class often lie on its region; those that do not are confounders of the classifier.",
    notion="decomposability",
    serves="trust",
    cannot_claim="That the classifier uses the latents: keep or remove them (`latent_groups`) to see.",
    tiny={"draws": 39, "top": 2},
)  # fmt: skip
def mammo_sae(
    recording: Any, basis: Any, *, label: str, region: str | None = None, top: int = 10, share: float = 0.5,
    draws: int = 199, seed: int = 0,
) -> Finding:  # fmt: skip
    """Rank the latents that follow a label of images, and tell those on its region from confounders.

    ``d_i = |W_dec,i| (mean z_i on images with the label - mean z_i on the others)``, z averaged over the places of an image;
    the `top` latents by d. Pointing accuracy: share of images with the region where the latent's highest place lies in it.

    Parameters
    ----------
    recording : Recording
        One site of an image network (or of anything with one grid of places per sample), with labels per place.
    basis : Basis
        A dictionary of that site; paper: ReLU with an L1 penalty, eight times as wide.
    label : str
        Property of the recording; an image has it when any of its places has.
    region : str, optional
        Property that marks the places the label is about. Default: `label` itself.
    top : int
        Latents that are looked at. Default and paper: 10.
    share : float
        A latent whose peak lies in the region less often is called off-region. Default 0.5.
    draws : int
        Draws of each null. Default 199.
    seed : int
        Of the nulls. Default 0.

    Returns
    -------
    Finding
        The claim: the label has latents, and one of them points at its region. Table, best first: latent, difference, auroc
        (of the image's mean code for the label), p (against the largest difference of any latent under permuted labels),
        pointing, fires (share of the images with the region), off_region. Estimate: best pointing accuracy of the table.

    Raises
    ------
    UsageError
        Unknown property, or a size out of range.
    SubjectMismatch
        When the basis belongs to another site or subject.
    ShapeError
        When images differ in their number of places.
    NonFinite
        When the recording holds NaN or infinity.
    Degenerate
        When the label is on (nearly) all or no images, or rows do not vary.

    Notes
    -----
    Null: labels permuted over images, largest difference of any latent; and regions exchanged between the images that have
    one, best pointing of the table. Where the label has nothing to do with the values the finding is supported at rate
    alpha at most; a latent of a fixed place that the region often covers passes the first null and not the second.
    Misleads when the label's region is large (pointing is then easy: see the null), or when a confounder lies inside it.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.basis import Identity
    >>> from microtome.subject.recording import Recording
    >>> g = np.random.default_rng(0)
    >>> lesion = np.zeros((60, 9), dtype=bool); lesion[:30][np.arange(30), g.integers(0, 9, 30)] = True
    >>> x = g.random((540, 4)); x[:, 2] += 3 * lesion.ravel()
    >>> index = {"sample": np.repeat(np.arange(60), 9)}
    >>> patches = Recording.of(torch.tensor(x), site="map", index=index, labels={"lesion": lesion.ravel()})
    >>> found = mammo_sae(patches, Identity("map", 4), label="lesion", top=1)
    >>> found.verdict, found.table["latent"].tolist(), found.table["pointing"].tolist()
    ('supported', [2], [1.0])

    References
    ----------
    Nakka (2025). Mammo-SAE: Interpreting Breast Cancer Concept Learning with Sparse Autoencoders.
    https://arxiv.org/abs/2507.15227
    """
    top = require_count(top, basis.dim, "top")
    if draws < 1 or not 0 <= share <= 1:
        raise UsageError(f"draws >= 1 and share in [0, 1] are needed, got {draws, share}.")
    found = maps(recording, basis)
    has = found.labels(recording, label).any(1)
    if min(has.sum(), (~has).sum()) < FEWEST:
        raise Degenerate(f"'{label}' is on {has.sum()} of {len(has)} images; {FEWEST} with it and {FEWEST} without are needed.")
    place = found.labels(recording, region or label)
    mean = found.values.mean(1)
    size = np.ones(basis.dim) if basis.directions is None else basis.directions.detach().double().norm(dim=1).cpu().numpy()
    difference = _difference(mean, has) * size
    first = np.argsort(-difference, kind="stable")[:top]
    stream = rng(seed, "decompose", "mammo_sae")
    largest = np.array([(_difference(mean, stream.permutation(has)) * size).max() for _ in range(draws)])
    accuracy, fires = pointing(found.values[:, :, first], place)
    shown = place.any(1)
    maps_shown, regions = found.values[shown][:, :, first], place[shown]
    swapped = np.array([pointing(maps_shown, regions[stream.permutation(len(regions))])[0].max() for _ in range(draws)])
    p = (1 + (largest[:, None] >= difference[first]).sum(0)) / (1 + draws)
    return _finding(
        {
            "latent": first, "difference": difference[first], "auroc": auroc(mean[:, first], has), "p": p,
            "pointing": accuracy, "fires": fires, "off_region": accuracy < share,
        },
        (
            Null("labels permuted over images, largest difference of any latent", largest, float(difference[first[0]])),
            Null("regions exchanged between images, best pointing", swapped, float(accuracy.max())),
        ),
        {"area": float(regions.mean()), "images": float(len(has)), "with_label": float(has.sum())},
        label, region or label, Provenance(subject=getattr(basis, "subject", ""), data=basis.site, seed=seed),
    )  # fmt: skip


def _difference(mean: np.ndarray, has: np.ndarray) -> np.ndarray:
    return mean[has].mean(0) - mean[~has].mean(0)


def _finding(columns: dict, nulls: tuple[Null, ...], controls: dict, label: str, region: str, about: Provenance) -> Finding:
    import pandas as pd

    table = pd.DataFrame(columns)
    best, images = table.loc[table["pointing"].idxmax()], int(controls["with_label"])
    return Finding(
        f"latents follow '{label}', and latent {int(best['latent'])} points at '{region}'",
        estimate=Estimate(float(best["pointing"]), n=images, unit="pointing accuracy", method="best of top"),
        nulls=nulls, controls=controls, table=table, provenance=about,
        notes=("area is the share of places that the region covers: what pointing at random gives.",),
    )  # fmt: skip

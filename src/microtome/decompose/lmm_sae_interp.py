"""Explain latents of an image network by the regions they fire on, and ground each explanation on other images."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from microtome.decompose.data import require_count
from microtome.decompose.places import Maps, maps, overlap
from microtome.errors import UsageError
from microtome.evidence import Estimate, Finding, Null, Provenance, auroc
from microtome.method import Paper, method
from microtome.rng import rng
from microtome.subject.recording.halves import halves

#: Gives the name of what a set of rows (places of images) has in common.
Explainer = Callable[[Any, np.ndarray], str]
#: Shares of the peak from which a latent's own is chosen, and the one that it is explained at before.
LEVELS, HALF = tuple(np.arange(1, 10) / 10), 0.5


@method(
    question="decompose",
    paper=Paper(
        "Zhang et al.", 2024, "Large Multi-modal Models Can Interpret Features in Large Multi-modal Models",
        "https://arxiv.org/abs/2411.14982",
    ),
    needs=("recording", "basis", "labels"),
    gives="Finding",
    stochastic=True,
    cost="O(rows * latents * d) to encode, O(draws * places * latents); one call of the explainer per latent",
    claim="Latents of a multimodal model can be explained from the image regions they fire on, and the explanations ground.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That the model uses the latent for what it is called: clamp it and see what the model says.",
    tiny={"draws": 19},
)  # fmt: skip
def lmm_sae_interp(
    recording: Any, basis: Any, *, latents: int | Sequence[int] = 20, explain: Explainer | None = None, top: int = 5,
    level: float | None = 0.25, draws: int = 99, seed: int = 0,
) -> Finding:  # fmt: skip
    """Name latents from the places where they fire most, and measure the overlap with that name's places elsewhere.

    On one half of the images: the `top` with the highest peak; the mask of a latent is where it exceeds `level` times the mean
    of these peaks; the explainer names what the masked places of the top images have in common. On the other half: intersection
    over union, summed over images, of the latent's mask with the places that have the name.

    Parameters
    ----------
    recording : Recording
        One site with one grid of places per image and labels per place: exact masks, or those of a segmenter that was asked for
        each name. Leave out tokens that are no places (class tokens, image newlines).
    basis : Basis
        A dictionary of that site; paper: TopK.
    latents : int or sequence of int
        Which latents; a number: as many of the most selective ones, by their best AUROC for a property on places of the first
        half. Default 20.
    explain : callable, optional
        ``explain(recording, rows) -> property``; paper: a larger multimodal model that looks at the masked images. Default
        `majority`: the property that most of the rows have.
    top : int
        Images that are explained from. Default and paper: 5.
    level : float, optional
        Of the mask, in (0, 1]. Default 0.25. None: explained at 0.5; then, for each latent, that of 0.1, 0.2, ... 0.9 at which
        its mask overlaps most with its name on the first half. For latents that also fire weakly elsewhere.
    draws : int
        Draws of the null. Default 99.
    seed : int
        Of the halves and the null. Default 0.

    Returns
    -------
    Finding
        Table: latent, explanation, auroc (selectivity), iou, iou_shuffled (mean of the null), rows (masked places), level.
        Estimate: median IoU of the latents.

    Raises
    ------
    UsageError
        Without labels, when the explainer answers with a name that is no property, or a size is out of range.
    SubjectMismatch
        When the basis belongs to another site or subject.
    ShapeError
        When images differ in their number of places.
    NonFinite
        When the recording holds NaN or infinity.
    Degenerate
        With fewer than two images, or when rows do not vary.

    Notes
    -----
    Null: the places of every judged image shuffled, median IoU: what sizes alone give. Latents that have nothing to do with
    places are supported at rate alpha.
    Misleads when a randomly initialised encoder does as well, which local properties (colour) allow: compare with
    ``subject.twin()``. And when a property covers most places, any wide latent overlaps with it.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.basis import Identity
    >>> from microtome.subject.recording import Recording
    >>> g = np.random.default_rng(0)
    >>> red, round_ = g.random((2, 360)) < 0.2
    >>> x = 0.1 * g.random((360, 3)); x[:, 1] += red; x[:, 2] += round_
    >>> index = {"sample": np.repeat(np.arange(40), 9)}
    >>> seen = Recording.of(torch.tensor(x), site="patches", index=index, labels={"red": red, "round": round_})
    >>> found = lmm_sae_interp(seen, Identity("patches", 3), latents=[1, 2])
    >>> found.table["explanation"].tolist(), found.table["iou"].tolist()
    (['red', 'round'], [1.0, 1.0])

    References
    ----------
    Zhang et al. (2024). Large Multi-modal Models Can Interpret Features in Large Multi-modal Models.
    https://arxiv.org/abs/2411.14982
    """
    if not recording.properties:
        raise UsageError("the recording has no labels to ground an explanation with; see recording.add_labels.")
    if (level is not None and not 0 < level <= 1) or draws < 1:
        raise UsageError(f"level in (0, 1] and draws >= 1 are needed, got {level, draws}.")
    found = maps(recording, basis)
    first = halves(recording, 0.5, seed)[0][found.rows[:, 0]]
    require_count(top, int(first.sum()), "top")
    truth = {name: found.labels(recording, name) for name in recording.properties}
    chosen, selectivity = _chosen(found.take(first), {name: place[first] for name, place in truth.items()}, latents)
    rows, statistics, chance = [], [], []
    stream = rng(seed, "decompose", "lmm_sae_interp")
    orders = [stream.random(found.rows[~first].shape).argsort(1) for _ in range(draws)]
    for latent, selective in zip(chosen, selectivity, strict=True):
        values = found.values[:, :, latent]
        shown = np.flatnonzero(first)[np.argsort(-values[first].max(1), kind="stable")[:top]]
        peak = values[shown].max(1).mean()
        mask = _mask(values, (level or HALF) * peak)
        name = (explain or majority)(recording, found.rows[shown][mask[shown]])
        if name not in truth:
            raise UsageError(
                f"the explainer says {name!r} of latent {latent}, which is no property of the recording; add its mask."
            )
        own = level or max(LEVELS, key=lambda l: _fit(values[first], l * peak, truth[name][first]))
        judged, place = _mask(values, own * peak)[~first], truth[name][~first]
        statistics.append(float(overlap(judged.ravel(), place.ravel())))
        chance.append([overlap(np.take_along_axis(judged, order, 1).ravel(), place.ravel()) for order in orders])
        rows.append({
            "latent": int(latent), "explanation": name, "auroc": float(selective), "iou": statistics[-1],
            "iou_shuffled": float(np.mean(chance[-1])), "rows": int(judged.sum()), "level": float(own),
        })  # fmt: skip
    return _finding(rows, chance, Provenance(subject=getattr(basis, "subject", ""), data=basis.site, seed=seed))


def majority(recording: Any, rows: np.ndarray) -> str:
    """The property that most of the rows have; of several, the one that is rarer in the recording. The stub of an explainer."""
    shares = {name: float(recording.labels(name)[rows].mean()) if len(rows) else 0.0 for name in recording.properties}
    return max(shares, key=lambda name: (round(shares[name], 9), -float(recording.labels(name).mean())))


def _mask(values: np.ndarray, threshold: float) -> np.ndarray:
    return (values > threshold) & (values > 0)


def _fit(values: np.ndarray, threshold: float, place: np.ndarray) -> float:
    """Overlap of the mask at a threshold with a set of places, over all images."""
    return float(overlap(_mask(values, threshold).ravel(), place.ravel()))


def _chosen(found: Maps, truth: dict[str, np.ndarray], latents: int | Sequence[int]) -> tuple[list[int], list[float]]:
    """Numbers of the latents and their best AUROC for a property over places."""
    z = found.values.reshape(-1, found.values.shape[-1])
    shown = [place.ravel() for place in truth.values() if place.any() and not place.all()]
    best = np.max([auroc(z, place) for place in shown], axis=0) if shown else np.full(z.shape[1], 0.5)
    if isinstance(latents, (int, np.integer)):
        count = require_count(int(latents), 10**9, "latents")
        chosen = np.argsort(-best, kind="stable")[: min(count, len(best))].tolist()
    else:
        chosen = [int(i) for i in latents]
        if not chosen or not all(0 <= i < len(best) for i in chosen):
            raise UsageError(f"latents must be numbers in 0..{len(best) - 1}, got {chosen[:5]}.")
    return chosen, [float(best[i]) for i in chosen]


def _finding(rows: list[dict], chance: list[list[float]], about: Provenance) -> Finding:
    import pandas as pd

    table = pd.DataFrame(rows).sort_values("iou", ascending=False, kind="stable").reset_index(drop=True)
    median = float(table["iou"].median())
    return Finding(
        f"the explanations of {len(table)} latents name the places where they fire on other images",
        estimate=Estimate(median, n=len(table), unit="IoU", method="median over latents"),
        nulls=(Null("places shuffled within each image, median IoU", np.median(chance, axis=0), median),),
        table=table, provenance=about,
    )  # fmt: skip

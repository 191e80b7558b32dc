"""When do features of a category appear: latents that tell categories, counted checkpoint by checkpoint against chance."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from microtome.decompose.pooled import pooled
from microtome.errors import Degenerate, UsageError, nearest
from microtome.evidence import Estimate, Finding, Null, Provenance, auroc, benjamini_hochberg
from microtome.method import Paper, method
from microtome.rng import rng
from microtome.subject.recording.halves import halves

#: Gives a basis for the recording of one site; as in `compare`.
Fit = Callable[[Any, int], Any]
#: Samples with and without a property that are judged.
FEWEST = 5


@method(
    question="decompose",
    paper=Paper(
        "Sawmya, Adler, Shavit", 2025,
        "The Birth of Knowledge: Emergent Features across Time, Space, and Scale in Large Language Models",
        "https://arxiv.org/abs/2505.19440",
    ),
    needs=("recording", "labels"),
    gives="Finding",
    stochastic=True,
    cost="one dictionary per site, and O(sites * samples * latents * (1 + draws) * properties)",
    claim="Features of a category appear at a threshold of training, of depth and of size, and later for rarer categories.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That knowledge is absent before: it may be there in another form. Fit a probe on the same sites.",
    tiny={"draws": 19},
)  # fmt: skip
def feature_emergence(
    recording: Any, *, properties: Sequence[str] | None = None, fit: Fit | None = None, cut: float = 0.9, alpha: float = 0.05,
    pooling: str = "mean", draws: int = 99, seed: int = 0,
) -> Finding:  # fmt: skip
    """Count the latents that tell a category at each site of a recording, the first site being the null network.

    A dictionary is fitted to every site on one half of the documents. On the other half latent i, pooled over each sample, is
    categorical for c when its AUROC for c is at least `cut` and significant (Mann-Whitney, Benjamini-Hochberg over latents and
    categories); it counts for the category it tells best.

    Parameters
    ----------
    recording : Recording
        The same labelled samples at several sites, in order: checkpoints of a training ("step 0" first), layers, or sizes.
        `subject.recording.join` and ``Recording.of({name: values})`` put them side by side.
    properties : sequence of str, optional
        Categories; a sample has one when any of its rows has. Default: all of the recording.
    fit : callable, optional
        ``fit(recording of one site, seed) -> Basis``. Default: `topk_sae` with 256 latents, 8 active, 300 updates of 512 rows.
    cut : float
        Least AUROC. Default 0.9.
    alpha : float
        False discovery rate. Default 0.05.
    pooling : {"mean", "max", "last"}
        Over the rows of a sample. Default "mean".
    draws : int
        Permutations of the labels. Default 99.
    seed : int
        Of the fits, the halves and the null. Default 0.

    Returns
    -------
    Finding
        The claim: the last site has more categorical latents than the first. Table, a row per site and property: site, step
        (its place in the order), property, count, best (AUROC of the best latent), chance (largest count under permuted
        labels), emerged_at (site from which on the count stays above that of the first site and above chance; or "never").

    Raises
    ------
    UsageError
        With fewer than two sites, without labels, or when an option is out of range.
    NonFinite
        When the recording holds NaN or infinity.
    Degenerate
        When a property is on too few or too many samples, or rows do not vary.

    Notes
    -----
    Null: labels permuted over samples; the difference of the counts of the last and the first site. The first site is a null of
    another kind: a random network has latents for tokens, and these tell categories with words of their own.
    Misleads when the dictionaries differ more than the networks: repeat with other seeds.

    Examples
    --------
    >>> import torch
    >>> from microtome.decompose import pca
    >>> from microtome.subject.recording import Recording
    >>> g = np.random.default_rng(0)
    >>> kind = np.arange(80) % 2 == 0
    >>> before, after = g.normal(size=(2, 80, 4)); after[:, 0] += 8 * kind
    >>> steps = Recording.of({"0": torch.tensor(before), "100": torch.tensor(after)}, labels={"verb": kind})
    >>> found = feature_emergence(steps, fit=lambda rows, seed: pca(rows, components=2))
    >>> found.table["count"].tolist(), set(found.table["emerged_at"])
    ([0, 1], {'100'})

    References
    ----------
    Sawmya, Adler, Shavit (2025). The Birth of Knowledge: Emergent Features across Time, Space, and Scale in Large Language
    Models. https://arxiv.org/abs/2505.19440
    """
    if not 0.5 < cut <= 1 or not 0 < alpha < 1 or draws < 1:
        raise UsageError(f"cut in (0.5, 1], alpha in (0, 1) and draws >= 1 are needed, got {cut, alpha, draws}.")
    sites, names = [str(s) for s in recording.sites], _names(recording, properties)
    if len(sites) < 2:
        raise UsageError(f"emergence needs at least two sites in order (checkpoints, layers, sizes), got {sites}.")
    first = halves(recording, 0.5, seed)[0]
    held = recording.select(~first)
    place = np.unique(held.index["sample"].to_numpy(), return_inverse=True)[1]
    has = np.zeros((place.max() + 1, len(names)), dtype=bool)
    for j, name in enumerate(names):
        np.logical_or.at(has[:, j], place, np.asarray(held.labels(name)))
    few = [n for n, c in zip(names, has.sum(0), strict=True) if min(c, len(has) - c) < FEWEST]
    if few:
        raise Degenerate(f"'{few[0]}' needs {FEWEST} judged samples with it and {FEWEST} without, of {len(has)}.")
    stream = rng(seed, "decompose", "feature_emergence")
    labels = np.concatenate([has, *(has[stream.permutation(len(has))] for _ in range(draws))], axis=1)
    counts, best = [], []
    for site in sites:
        basis = (fit or _default)(recording[site].select(first), seed)
        area = auroc(pooled(held[site], basis, pooling=pooling)[0].toarray(), labels).reshape(1 + draws, len(names), -1)
        best.append(area[0].max(1))
        counts.append([_counted(part, has.sum(0), len(has), cut, alpha) for part in area])
    about = Provenance(subject=str(recording.provenance.get("subject", "") or ""), data=" ".join(sites), seed=seed)
    return _finding(sites, names, np.array(counts), np.array(best), alpha, about)


def _default(recording: Any, seed: int) -> Any:
    from microtome.decompose.topk_sae import topk_sae

    return topk_sae(recording, latents=256, k=8, steps=300, batch=min(512, len(recording)), lr=5e-3, seed=seed)


def _counted(area: np.ndarray, positive: np.ndarray, samples: int, cut: float, alpha: float) -> np.ndarray:
    """Categorical latents per property from AUROCs [properties, latents]; a latent counts where it tells best."""
    from scipy.stats import norm

    negative = samples - positive
    spread = np.sqrt((samples + 1) / (12.0 * positive * negative))[:, None]
    q = benjamini_hochberg(norm.sf((area - 0.5) / spread).ravel()).reshape(area.shape)
    found = (area >= cut) & (q <= alpha) & (area == area.max(0))
    return np.bincount(found.argmax(0)[found.any(0)], minlength=len(area))


def emergence(counts: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """First step from which on a count stays above its value at step 0 and above chance: [properties]; -1 where none.

    Parameters
    ----------
    counts, chance : ndarray [steps, properties]
    """
    above = (counts > counts[:1]) & (counts > chance)
    above[0] = False
    stays = np.logical_and.accumulate(above[::-1], axis=0)[::-1]
    return np.where(stays.any(0), stays.argmax(0), -1)


def _names(recording: Any, properties: Sequence[str] | None) -> list[str]:
    known = list(recording.properties)
    asked = known if properties is None else list(properties)
    unknown = [name for name in asked if name not in known]
    if not asked or unknown:
        hint = nearest(str(unknown[0]), known) if unknown else " See recording.add_labels."
        raise UsageError(
            f"categories must be properties of the recording, which has {known[:20]}; got {unknown or 'none'}.{hint}"
        )
    return asked


def _finding(
    sites: list[str], names: list[str], counts: np.ndarray, best: np.ndarray, alpha: float, about: Provenance
) -> Finding:
    """`counts` [sites, 1 + draws, properties], the first of which are those of the real labels."""
    import pandas as pd

    real, chance = counts[:, 0], counts[:, 1:].max(1)
    step = emergence(real, chance)
    rows = [
        {"site": site, "step": i, "property": name, "count": int(real[i, j]), "best": float(best[i, j]),
         "chance": int(chance[i, j]), "emerged_at": sites[step[j]] if step[j] >= 0 else "never"}
        for i, site in enumerate(sites) for j, name in enumerate(names)
    ]  # fmt: skip
    total = counts.sum(2)
    gained = total[-1] - total[0]
    return Finding(
        f"categorical latents appear between '{sites[0]}' and '{sites[-1]}': {total[0, 0]} become {total[-1, 0]}",
        estimate=Estimate(float(gained[0]), n=int(total[-1, 0]), unit="latents", method="last site less first"),
        nulls=(Null("labels permuted over samples", gained[1:].astype(float), float(gained[0])),),
        controls={"first": float(total[0, 0]), "last": float(total[-1, 0]), "largest_by_chance": float(total[:, 1:].max())},
        table=pd.DataFrame(rows), provenance=about, alpha=alpha,
    )  # fmt: skip

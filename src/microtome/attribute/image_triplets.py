"""Decorrelated triplets: images to choose from in which likeness at a low level says nothing of likeness at a high one."""

from typing import Any

import numpy as np

from microtome.attribute.ends import counted
from microtome.attribute.triplets import Triplets, difference, pearson, similarities
from microtome.errors import Degenerate, UsageError, nearest
from microtome.evidence import Provenance
from microtome.method import Paper, method
from microtome.rng import rng

#: Sets of random triplets whose correlation is the null.
RANDOM = 99


@method(
    question="attribute",
    paper=Paper("Piriyajitakonkij et al.", 2024, "What Makes a Face Look like a Hat: Decoupling Low-level and High-level "
                "Visual Properties with Image Triplets", "https://arxiv.org/abs/2409.02241"),
    needs=("recording", "images"),
    gives="Triplets: selected images, and the Finding that they are decorrelated",
    stochastic=True,
    cost="O(images^2 * units) per site, and O(candidates)",
    claim="Triplets exist in which low-level and high-level similarity are uncorrelated, and choices then tell which is used.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="That an observer whose choices a layer foresees computes what the layer does.",
    tiny={"candidates": 20_000, "triplets": 400},
    skips={"batch": "a set of triplets of all images has no row per image"},
)  # fmt: skip
def image_triplets(
    recording: Any,
    *,
    low: str | None = None,
    high: str | None = None,
    triplets: int = 300,
    bins: int = 6,
    candidates: int = 50_000,
    similarity: str = "cosine",
    seed: int = 0,
) -> Triplets:
    """Select triplets (root, first, second) of images that fill a grid of low-level and high-level differences evenly.

    A triplet stands at ``d = s(root, first) - s(root, second)`` for s the similarity of two images' values at the low and at
    the high site. Both d are ranked over random candidates and cut into equal shares; each cell of the grid gives as many:
    those nearest to places drawn evenly in it.

    Parameters
    ----------
    recording : Recording
        One row per image (``record(..., positions="mean")``, or flattened maps), at two sites, of one network or two.
    low, high : str, optional
        Sites; default the first and the last of the recording. The paper's: a layer of VGG-16, and IT of CORnet-S.
    triplets : int, default 300
        How many are selected.
    bins : int, default 6
        Of each difference.
    candidates : int, default 50_000
        Random triplets to select from.
    similarity : {"cosine", "correlation"}
        Of two images' values over units, each unit standardised over the images: else the loudest decide. Default "cosine".
    seed : int, default 0

    Returns
    -------
    Triplets
        ``images``, ``low``, ``high``, ``correlation`` beside that of random triplets (``chance``; one such set is ``random``);
        ``fit(choices)``, ``layers(recording, choices)``, ``differences(recording)`` to measure again at another site.

    Raises
    ------
    UsageError
        Unknown sites or similarity, several rows per image, sizes out of range.
    Degenerate
        With fewer than three images, values that do not vary, or a cell with too few candidates: the two levels go together
        too closely, ask for fewer bins or triplets, or more candidates or images.
    NonFinite

    Notes
    -----
    Null: as many random triplets, in which the two levels go together as they do in the images (``chance``).
    Misleads when similarities are noisy: selection picks errors too, and measured again at another layer or in another network
    the differences are correlated to some degree (regression to the mean). Triplets that share images are not independent.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> g = torch.Generator().manual_seed(0)
    >>> skin = torch.randn(150, 8, generator=g)
    >>> shape = skin + 0.7 * torch.randn(150, 8, generator=g)
    >>> found = image_triplets(Recording.of({"low": skin, "high": shape}), bins=5, triplets=200)
    >>> abs(found.correlation) < 0.15, bool(found.chance.mean() > 0.6)
    (True, True)

    References
    ----------
    Piriyajitakonkij, Itthipuripat, Ballard, Pappas (2024). What Makes a Face Look like a Hat: Decoupling Low-level and
    High-level Visual Properties with Image Triplets. https://arxiv.org/abs/2409.02241
    """
    for name, value, least in (("triplets", triplets, 3), ("bins", bins, 1), ("candidates", candidates, triplets)):
        counted(name, value, least)
    sites = _sites(recording, low, high)
    if len(recording) < 3:
        raise Degenerate(f"a triplet needs three images, the recording has {len(recording)}.")
    stream = rng(seed, "image triplets")
    pool = candidate_triplets(len(recording), candidates, stream)
    below, above = (difference(similarities(recording[s], similarity), pool) for s in sites)
    pearson(below, above)
    size = min(triplets, len(pool))
    sets = [stream.choice(len(pool), size, replace=False) for _ in range(RANDOM)]
    chance = np.array([pearson(below[some], above[some]) for some in sets])
    about = Provenance(subject=str(recording.provenance.get("subject", "") or ""), data=recording.fingerprint, seed=seed)
    rows, plain = even(below, above, bins, triplets, stream), sets[0]
    control = Triplets(pool[plain], below[plain], above[plain], sites, similarity, chance, about)
    return Triplets(pool[rows], below[rows], above[rows], sites, similarity, chance, about, control)


def candidate_triplets(images: int, n: int, stream: np.random.Generator) -> np.ndarray:
    """Distinct random triplets of three different images: int [<= n, 3], the first and the second in random order."""
    drawn = stream.integers(images, size=(n, 3))
    root, first, second = drawn.T
    drawn = drawn[(root != first) & (root != second) & (first != second)]
    key = np.column_stack([drawn[:, 0], drawn[:, 1:].min(1), drawn[:, 1:].max(1)])
    return drawn[np.sort(np.unique(key, axis=0, return_index=True)[1])]


def even(low: np.ndarray, high: np.ndarray, bins: int, n: int, stream: np.random.Generator) -> np.ndarray:
    """Rows of `n` candidates, equally many (to one) from each cell of a grid of the ranks of `low` and `high`.

    Within a cell places are drawn evenly, and each takes the nearest candidate that is left: where the two go together, they
    do so within cells too, and the corners of a diagonal hold larger values than those of the other.
    """
    from scipy.stats import rankdata

    place = np.column_stack([bins * (rankdata(d, "ordinal") - 0.5) / len(d) for d in (low, high)])  # in [0, bins]
    cell = place.astype(int) @ np.array([bins, 1])
    quota = np.full(bins * bins, n // (bins * bins))
    quota[stream.permutation(bins * bins)[: n % (bins * bins)]] += 1
    there = np.bincount(cell, minlength=bins * bins)
    short = np.flatnonzero(there < quota)
    if len(short):
        one = int(short[0])
        raise Degenerate(
            f"{len(short)} of {bins * bins} cells have too few of the {len(cell)} candidates (low {one // bins}, high "
            f"{one % bins}: {there[one]} of {quota[one]}). Ask for fewer bins or triplets, or more candidates or images."
        )
    rows = []
    for c in range(bins * bins):
        left = np.flatnonzero(cell == c)
        for target in np.array(divmod(c, bins)) + stream.random((quota[c], 2)):
            nearest_one = int(((place[left] - target) ** 2).sum(1).argmin())
            rows.append(left[nearest_one])
            left = np.delete(left, nearest_one)
    return stream.permutation(np.array(rows))


def _sites(recording: Any, low: str | None, high: str | None) -> tuple[str, str]:
    known = [str(s) for s in recording.sites]
    chosen = known[0] if low is None else low, known[-1] if high is None else high
    for site in chosen:
        if site not in known:
            raise UsageError(f"no site {site!r} among {known}.{nearest(str(site), known)}")
    if chosen[0] == chosen[1]:
        raise UsageError(f"low and high are both {chosen[0]!r}: triplets need two levels, e.g. an early and a late layer.")
    return chosen

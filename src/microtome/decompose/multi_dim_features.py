"""Features of more than one dimension: groups of latents whose joint writing is no sum of separate lines."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.decompose.clusters import by_cosine, principal
from microtome.decompose.data import one_site, survey
from microtome.decompose.irreducible import MIN_ROWS, mixture_index, separability
from microtome.errors import Degenerate, SubjectMismatch, UsageError
from microtome.evidence import Estimate, Finding, Null, Provenance
from microtome.method import Paper, method
from microtome.rng import rng, torch_rng

#: Largest group of latents, as in the paper, and rows of a cloud that are looked at.
LARGEST, ROWS = 1000, 2000


@method(
    question="decompose",
    paper=Paper("Engels et al.", 2024, "Not All Language Model Features Are Linear", "https://arxiv.org/abs/2405.14860"),
    needs=("recording", "basis"),
    gives="Finding",
    stochastic=True,
    cost="O(rows * latents * d) to encode, then O((1 + draws) * clusters * components * angles * rows)",
    claim="Clusters of dictionary latents hold features that no sum of one-dimensional ones makes up, such as circles of days.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That the network uses the plane: patch it (`circle_basis`), against a random plane.",
    tiny={"draws": 19, "bins": 6},
)
def multi_dim_features(
    recording: Any, basis: Any, *, clusters: Sequence[Sequence[int]] | None = None, cosine: float = 0.5,
    components: int = 5, radius: float = 0.1, bins: int = 10, draws: int = 19, seed: int = 0,
) -> Finding:  # fmt: skip
    """Rank groups of latents by how irreducible what they write together is.

    For each group ``y = sum_i f_i W_dec,i`` over the rows where any of its latents fires; on each pair of consecutive
    principal components of y the separability S (`irreducible.separability`, bits) and the mixture index M
    (`irreducible.mixture_index`); score ``(1 - M) S``, the best pair counts. An irreducible feature has a high score: its
    coordinates depend on each other in every rotation, and it is no mixture of lines.

    Parameters
    ----------
    recording : Recording
        One site.
    basis : Basis
        With directions, of that site; e.g. a sparse autoencoder.
    clusters : sequence of sequences of int, optional
        Groups of latents, e.g. by `clusters.by_jaccard`. Default: `clusters.by_cosine` with two neighbours, as the paper,
        of the latents that fire on the recording.
    cosine : float
        Of decoder directions, above which neighbours are joined. Default 0.5. Paper: 0.5.
    components : int
        Principal components that are looked at. Default 5. Paper: 5.
    radius : float
        Rows where what a group writes is shorter than this share of its root mean square are left out. Default 0.1.
    bins : int
        Of the histograms. Default 10. Paper: 40, for far more rows.
    draws : int
        Draws of the null. Default 19, the least with which p can reach 0.05.
    seed : int
        Rows that are looked at (2000 at most per group), and the null. Default 0.

    Returns
    -------
    Finding
        The claim about the first group; `table` has a row per group: latents, pair of components, separability, mixture,
        score, p, rows. `cluster_plane` gives a group's plane as a basis.

    Raises
    ------
    UsageError
        When a size is below what is needed, or the basis has no directions.
    SubjectMismatch
        When the basis belongs to another site.
    NonFinite
        When the recording holds NaN or infinity.
    Degenerate
        When the rows do not vary.

    Notes
    -----
    Null: the codes of every latent are permuted over the rows by themselves, and the best group of each draw counts: the
    same directions and marginals, firing independently. A dictionary whose latents fire independently is supported at
    rate alpha. Without any group the finding is "not supported".
    Misleads when a group covers many unrelated latents, or when a feature of few values without noise looks like a mixture.

    Examples
    --------
    >>> from microtome.subject.basis import Linear
    >>> from microtome.subject.recording import Recording
    >>> g = torch.Generator().manual_seed(0)
    >>> angle = 2 * torch.pi * torch.rand(500, generator=g)
    >>> ring = torch.stack([angle.cos(), angle.sin(), torch.randn(500, generator=g)], 1)
    >>> found = multi_dim_features(Recording.of(ring, site="s"), Linear("s", torch.eye(3)), clusters=[[0, 1]], bins=6)
    >>> found.verdict, bool(found.table["separability"][0] > 0.4)
    ('supported', True)

    References
    ----------
    Engels et al. (2024). Not All Language Model Features Are Linear. https://arxiv.org/abs/2405.14860
    """
    site, subject = one_site(recording)
    if components < 2 or draws < 1 or bins < 2 or not 0 <= radius < 1:
        raise UsageError(
            f"components >= 2, draws >= 1, bins >= 2 and radius in [0, 1) are needed, got {components, draws, bins, radius}."
        )
    if getattr(basis, "directions", None) is None:
        raise UsageError("the basis has no directions, so its latents have no geometry; fit a dictionary.")
    if basis.site != site:
        raise SubjectMismatch(f"the basis belongs to '{basis.site}', the recording holds '{site}'.")
    about = survey(recording)
    groups = _groups(recording, basis, clusters, cosine)
    look = _Look(radius, components, bins, seed)
    rows, nulls, kept = [], [], 0
    for number, latents in enumerate(groups):
        codes = torch.cat([basis.encode(x)[:, latents] for x in recording.batches(4096, None)]).detach().double().cpu()
        directions = basis.directions[latents].detach().double().cpu()
        real = look(codes, directions)
        if real is None:
            continue
        kept += 1
        g = torch_rng(seed, "decompose", "multi_dim_features", number)
        drawn = [look(_permuted(codes, g), directions) for _ in range(draws)]
        chance = [0.0 if d is None else d["score"] for d in drawn]
        p = (1 + sum(c >= real["score"] for c in chance)) / (1 + draws)
        rows.append({"cluster": number, "latents": " ".join(map(str, latents)), "size": len(latents), **real, "p": p})
        nulls.append(chance)
    return _finding(rows, nulls, draws, Provenance(subject=subject, data=about.site, seed=seed))


class _Look:
    """The best pair of components of what a group writes."""

    def __init__(self, radius: float, components: int, bins: int, seed: int) -> None:
        self.radius, self.components, self.bins, self.seed = radius, components, bins, seed

    def __call__(self, codes: Tensor, directions: Tensor) -> dict[str, float] | None:
        """Separability, mixture and score of the best pair; None where there are too few rows or one dimension."""
        codes = codes[(codes != 0).any(1)]
        if len(codes) > ROWS:
            codes = codes[torch.from_numpy(rng(self.seed, "decompose", "rows").permutation(len(codes))[:ROWS].copy())]
        y = codes @ torch.linalg.qr(directions.T).R.T  # coordinates inside the span: same lengths, same components
        size = y.norm(dim=1)
        y = y[size >= self.radius * size.square().mean().sqrt()] if len(y) else y
        scores = principal(y, self.components)[0]
        if len(scores) < MIN_ROWS or scores.shape[1] < 2:
            return None
        found = []
        for i, j in pairwise(range(scores.shape[1])):
            cloud = scores[:, [i, j]]
            try:
                s, m = separability(cloud, bins=self.bins, seed=self.seed), mixture_index(cloud)
            except Degenerate:
                continue  # one of the two components carries nothing
            found.append({"pair": i, "separability": s, "mixture": m, "score": (1 - m) * max(s, 0.0), "rows": len(cloud)})
        return max(found, key=lambda row: row["score"], default=None)


def _groups(recording: Any, basis: Any, clusters: Sequence[Sequence[int]] | None, cosine: float) -> list[list[int]]:
    if clusters is None:
        fired = torch.zeros(basis.dim, dtype=torch.bool)
        for x in recording.batches(4096, None):
            fired |= (basis.encode(x) != 0).any(0).cpu()
        live = fired.nonzero().flatten()  # a latent that never fires writes nothing, but could join two groups
        groups = by_cosine(basis.directions[live.to(basis.directions.device)], cosine=cosine)
        return [live[g].tolist() for g in groups if len(g) <= LARGEST]
    groups = [[int(i) for i in g] for g in clusters]
    wrong = [g for g in groups if len(set(g)) < 2 or len(set(g)) < len(g) or min(g) < 0 or max(g) >= basis.dim]
    if wrong:
        raise UsageError(f"a group holds at least two different latents of 0..{basis.dim - 1}, got {wrong[0]}.")
    return groups


def _permuted(codes: Tensor, g: torch.Generator) -> Tensor:
    """Every latent permuted over the rows by itself."""
    order = torch.rand(codes.shape, generator=g).argsort(0)
    return codes.gather(0, order)


def _finding(rows: list[dict], nulls: list[list[float]], draws: int, about: Provenance) -> Finding:
    import pandas as pd

    kind = "codes permuted per latent, best group of each draw"
    notes = ("score = (1 - mixture) * separability; no interval: it is an extreme over rotations.",)
    if not rows:
        return Finding(
            "No group of latents could hold a feature of several dimensions.", estimate=Estimate(0.0, unit="bits"),
            nulls=(Null(kind, np.zeros(draws), 0.0),), provenance=about, notes=notes,
        )  # fmt: skip
    table = pd.DataFrame(rows).sort_values("score", ascending=False, kind="stable").reset_index(drop=True)
    first = table.iloc[0]
    return Finding(
        f"Latents {first['latents']} write an irreducible feature of two dimensions.",
        estimate=Estimate(float(first["score"]), n=int(first["rows"]), unit="bits", method="extreme over rotations"),
        nulls=(Null(kind, np.max(nulls, axis=0), float(first["score"])),),
        controls={"separability": float(first["separability"]), "mixture": float(first["mixture"])},
        table=table, provenance=about, notes=notes,
    )  # fmt: skip

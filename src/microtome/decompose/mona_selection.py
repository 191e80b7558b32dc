"""Choose training samples for a task: those whose sparse codes are like those of a few examples of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from microtome.decompose.pooled import diverse, likeness, pooled, unit_sum
from microtome.errors import UsageError
from microtome.evidence import Estimate, Finding, Null, Provenance
from microtome.method import Paper, method
from microtome.rng import rng

#: Latents named for each chosen sample.
NAMED = 3


@method(
    question="decompose",
    paper=Paper(
        "Ma et al.", 2025, "Task-Specific Data Selection for Instruction Tuning via Monosemantic Neuronal Activations",
        "https://arxiv.org/abs/2503.15573",
    ),
    needs=("recording", "basis"),
    gives="Finding",
    stochastic=True,
    cost="O(rows * latents * d) to encode, then O((1 + draws) * active codes); no forward passes",
    claim="Samples whose sparse codes resemble those of a few target examples are of the target's kind, and train for it.",
    notion="decomposability",
    serves="transferability",
    cannot_claim="That training on them helps, which is another experiment; nor which shared latents matter for the task.",
    tiny={"share": 0.1, "draws": 39},
)  # fmt: skip
def mona_selection(
    recording: Any, basis: Any, *, targets: Sequence[int], share: float = 0.05, pooling: str = "mean",
    metric: str = "jaccard", diversity: float = 0.0, draws: int = 199, seed: int = 0,
) -> Finding:  # fmt: skip
    """Choose the samples of a recording whose pooled sparse codes are most like those of the target examples.

    ``J(z, t) = sum_i min(z_i, t_i) / sum_i max(z_i, t_i)`` with z the codes of a sample pooled over its rows and divided by
    their sum, and t the mean of these over the target examples.

    Parameters
    ----------
    recording : Recording
        One site; samples of the pool and the target examples together.
    basis : Basis
        A dictionary of that site with codes that are not negative; paper: a TopK autoencoder.
    targets : sequence of int
        Samples (line numbers of ``recording.table``) that are examples of the task; all others are the pool.
    share : float
        Part of the pool that is chosen. Default 0.05. Paper: a few percent.
    pooling : {"mean", "max", "last"}
        Over the rows of a sample. Default "mean".
    metric : {"jaccard", "cosine"}
        Default and paper: weighted Jaccard.
    diversity : float
        In [0, 1): above 0 samples are chosen one by one, and likeness to those already chosen counts against them by this
        weight. Default and paper: 0, near duplicates are all chosen.
    draws : int
        Draws of the null. Default 199.
    seed : int
        Of the null. Default 0.

    Returns
    -------
    Finding
        The claim: the targets have something in common that the chosen samples share. Table, best first: sample, score, and
        the latents that add most to its score. Estimate: mean score of the chosen.

    Raises
    ------
    UsageError
        A target that is not in the recording, no pool left, an option out of range, or negative codes with "jaccard".
    SubjectMismatch
        When the basis belongs to another site or subject.
    NonFinite
        When the recording holds NaN or infinity.
    Degenerate
        When the rows do not vary.

    Notes
    -----
    Null: as many random samples of the pool in place of the targets, left out of the pool; the mean score of what they choose.
    Targets that are a random part of the pool are supported at rate alpha, and select at random.
    Misleads when samples differ in something trivial (length, format, language) that the targets share.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.basis import Identity
    >>> from microtome.subject.recording import Recording
    >>> g = np.random.default_rng(0)
    >>> kind = np.arange(120) % 6
    >>> x = g.random((120, 6)) * 0.2; x[np.arange(120), kind] += 1
    >>> found = mona_selection(Recording.of(torch.tensor(x), site="h"), Identity("h", 6), targets=[0, 6, 12], share=0.1)
    >>> found.verdict, set(kind[found.table["sample"]].tolist()), set(found.table["latents"].str[0])
    ('supported', {0}, {'0'})

    References
    ----------
    Ma et al. (2025). Task-Specific Data Selection for Instruction Tuning via Monosemantic Neuronal Activations.
    https://arxiv.org/abs/2503.15573
    """
    if not 0 < share <= 1 or not 0 <= diversity < 1 or draws < 1:
        raise UsageError(f"share in (0, 1], diversity in [0, 1) and draws >= 1 are needed, got {share, diversity, draws}.")
    codes, names = pooled(recording, basis, pooling=pooling)
    codes = unit_sum(codes)
    is_target = _targets(names, targets)
    count = max(1, round(share * int((~is_target).sum())))

    def ranked(members: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Prototype, pool and scores when `members` are the examples."""
        prototype = np.asarray(codes[members].mean(0)).ravel()
        pool = np.flatnonzero(~members & ~is_target)
        return prototype, pool, likeness(codes[pool], prototype, metric)

    prototype, pool, score = ranked(is_target)
    best = np.sort(score)[::-1][:count].mean()
    chance, stream = np.zeros(draws), rng(seed, "decompose", "mona_selection")
    for draw in range(draws):
        members = np.zeros(len(names), dtype=bool)
        members[stream.choice(pool, min(int(is_target.sum()), len(pool) - 1), replace=False)] = True
        chance[draw] = np.sort(ranked(members)[2])[::-1][:count].mean()
    first = diverse(codes[pool], score, count, diversity, metric)
    shared = (
        np.minimum(codes[pool[first]].toarray(), prototype) if metric == "jaccard" else codes[pool[first]].toarray() * prototype
    )
    return _finding(
        {
            "sample": names[pool[first]], "score": score[first],
            "latents": [" ".join(str(i) for i in np.argsort(-row, kind="stable")[:NAMED] if row[i] > 0) for row in shared],
        },
        Null("random samples of the pool in place of the targets", chance, float(best)),
        {"pool": float(len(pool)), "targets": float(is_target.sum()), "mean_of_pool": float(score.mean())},
        Provenance(subject=getattr(basis, "subject", ""), data=basis.site, seed=seed),
    )  # fmt: skip


def _targets(names: np.ndarray, targets: Sequence[int]) -> np.ndarray:
    """Which samples are targets."""
    asked = [int(t) for t in np.asarray(targets).ravel()]
    missing = sorted(set(asked) - set(names.tolist()))
    if missing or not asked or len(set(asked)) < len(asked):
        raise UsageError(
            f"targets are different samples of the recording (at least one); not among its {len(names)}: {missing[:5]}."
        )
    found = np.isin(names, asked)
    if len(names) - found.sum() < 2:
        raise UsageError(f"{len(names)} samples with {found.sum()} targets leave no pool to choose from; record more.")
    return found


def _finding(columns: dict, null: Null, controls: dict, about: Provenance) -> Finding:
    import pandas as pd

    table = pd.DataFrame(columns)
    return Finding(
        f"{len(table)} of {int(controls['pool'])} samples share what the {int(controls['targets'])} targets have in common",
        estimate=Estimate(float(table["score"].mean()), n=len(table), unit="similarity", method="mean of the chosen"),
        nulls=(null,), controls=controls, table=table, provenance=about,
        notes=("latents: those that add most to the similarity of each sample.",),
    )  # fmt: skip

"""Multi-task distributed alignment search: a subspace that carries one attribute of an entity and none of the others."""

from typing import Any

import numpy as np
import torch

from microtome.errors import Degenerate, UsageError
from microtome.evidence import Finding, Null, Provenance, cluster_bootstrap
from microtome.method import Paper, method
from microtome.subject.frame import Position
from microtome.trace.alignment.basis import Aligned, random_alignment
from microtome.trace.alignment.data import prepare
from microtome.trace.alignment.fit import fitted, sizes_for
from microtome.trace.alignment.maps import Rotation
from microtome.trace.alignment.score import interchange_hits, require_aligned
from microtome.trace.interchange import by_target

RAVEL = Paper("Huang, Wu, Potts, Geva, Geiger", 2024, "RAVEL: Evaluating Interpretability Methods on Disentangling Language "
              "Model Representations", "https://arxiv.org/abs/2402.17700")  # fmt: skip


@method(
    question="trace",
    paper=RAVEL,
    needs=("subject", "task"),
    gives="Basis",
    stochastic=True,
    cost="as das",
    claim="Trained to change one attribute and to leave the others, a subspace isolates better than one trained to change it.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="That the attribute has no other carrier.",
    tiny={"size": 8, "steps": 150, "batch": 32, "lr": 0.02},
)  # fmt: skip
def mdas(
    subject: Any, pairs: Any, *, site: str, position: Position = None, size: int = 4, steps: int = 500, batch: int = 64,
    lr: float = 1e-2, seed: int = 0,
) -> Aligned:  # fmt: skip
    """Learn a subspace whose interchange gives the source's value of one attribute and the base's value of all others.

    ``h' = h + R R^T (s - h)``, R orthonormal [d, k]; minimises the SUM over the attributes asked of their mean
    cross-entropies: the attribute itself labelled with the source's value, every other with the base's.

    Parameters
    ----------
    subject : Subject
    pairs : Interchanges
        One variable, the attribute; ``kinds`` says which attribute each pair asks. Pairs that ask the variable are labelled
        with the source's value, all others with the base's.
    site : str
    position : int, list of int, tensor or None
        Positions written; None = all.
    size : int, default 4
        k.
    steps, batch : int
        Updates and pairs per update. Default 500 of 64.
    lr : float, default 1e-2
        Adam's rate.
    seed : int, default 0
        Start and batches.

    Returns
    -------
    Aligned

    Raises
    ------
    UsageError, SiteError, ShapeError
        Several variables; pairs that ask only the variable, or never; otherwise as `das`.
    Degenerate
        No pair whose counterfactual differs from the base answer.
    NonFinite
        Values, logits or the loss are NaN.

    Notes
    -----
    Null: a random subspace isolates because it does nothing: its disentanglement is near one half.
    Misleads when entities of training and test overlap, or when the subject answers some of the prompts wrongly.

    Examples
    --------
    >>> import torch
    >>> from microtome.stimuli import Interchanges
    >>> from microtome.subject.subject import Subject
    >>> subject = Subject(torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(2, 2, bias=False)))
    >>> _ = subject.module[1].weight.data.copy_(torch.tensor([[5.0, 0], [-5.0, 0]]))
    >>> base, source = torch.randn(2, 64, 2, generator=torch.Generator().manual_seed(0))
    >>> read = lambda x: (x[:, 0] < 0).long()
    >>> kinds = ["sign" if a != b else "other" for a, b in zip(read(base), read(source))]
    >>> pairs = Interchanges("signs", base, {"sign": source}, read(source), read(base), kinds=kinds)
    >>> mdas(subject, pairs, site="0", size=1, steps=50, lr=0.1).metrics["train_iia"] > 0.9
    True

    References
    ----------
    Huang, Wu, Potts, Geva, Geiger (2024). RAVEL: Evaluating Interpretability Methods on Disentangling Language Model
    Representations. https://arxiv.org/abs/2402.17700
    """
    kinds = _asked(pairs)
    share = {k: 1.0 / kinds.count(k) for k in set(kinds)}
    weights = torch.tensor([share[k] for k in kinds])

    def make(data: Any) -> Rotation:
        width = data.base.shape[-1]
        return Rotation(width, sizes_for(size, data.pairs.variables, width), seed)

    return fitted(subject, pairs, site, position, make, steps=steps, batch=batch, lr=lr, seed=seed, name="mdas",
                  weights=weights)  # fmt: skip


def _asked(pairs: Any) -> list[str]:
    """What each pair asks.

    Raises
    ------
    UsageError, Degenerate
    """
    if len(pairs) < 2:
        raise Degenerate(f"{len(pairs)} pairs are too few to disentangle anything.")
    variables, kinds = list(pairs.variables), list(pairs.kinds)
    if len(variables) != 1:
        raise UsageError(f"one attribute at a time is disentangled; the pairs have {variables}. Split them by variable.")
    if variables[0] not in kinds or len(set(kinds)) < 2:
        raise UsageError(
            f"pairs.kinds must say which attribute each pair asks: {variables[0]!r} in some, others in the rest; got "
            f"{sorted(set(kinds))}. Without the others nothing is isolated (use mt.trace.das)."
        )
    return kinds


@method(
    question="trace",
    paper=RAVEL,
    needs=("subject", "task", "basis"),
    gives="Finding",
    stochastic=True,
    cost="one forward of base and sources, then one of what follows the site per random subspace",
    claim="Cause and isolation together tell a subspace that carries one attribute from one that carries the entity.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="Anything about attributes that no pair asks.",
    tiny={"random": 9},
    skips={"null": "a network that answers no prompt rightly is refused, not scored"},
)  # fmt: skip
def disentanglement(subject: Any, pairs: Any, basis: Any, *, random: int = 19, seed: int = 0) -> Finding:
    """Cause and isolation scores of an alignment of one attribute, and their mean.

    ``cause`` = share of pairs asking the attribute that now give the source's value; ``iso`` = mean over the other
    attributes of the share that still give the base's; ``disentangle = (cause + iso) / 2``. Only pairs whose base prompt the
    subject answers rightly are counted.

    Parameters
    ----------
    subject : Subject
    pairs : Interchanges
        As for `mdas`, of entities that were not fitted on.
    basis : Aligned
    random : int, default 19
        Random subspaces of equal size, as null.
    seed : int, default 0
        Of random subspaces and the bootstrap over groups.

    Returns
    -------
    Finding
        Estimate: disentangle, with an interval over groups (entities). Controls: cause, iso, share of pairs counted.

    Raises
    ------
    UsageError, ShapeError, SubjectMismatch, Degenerate, NonFinite
        As `mdas` and `interchange`; no pair answered rightly.

    Notes
    -----
    Null: a random subspace has cause near 0 and iso near 1; a full swap the reverse: both near one half.
    Misleads when the subject is wrong on many prompts: isolation is then confounded; see the share counted.

    Examples
    --------
    >>> import torch
    >>> from microtome.stimuli import Interchanges
    >>> from microtome.subject.subject import Subject
    >>> from microtome.trace import AlignedLinear
    >>> subject = Subject(torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(2, 2, bias=False)))
    >>> _ = subject.module[1].weight.data.copy_(torch.tensor([[5.0, 0], [-5.0, 0]]))
    >>> base, source = torch.randn(2, 64, 2, generator=torch.Generator().manual_seed(0))
    >>> read = lambda x: (x[:, 0] < 0).long()
    >>> kinds = ["sign" if a != b else "other" for a, b in zip(read(base), read(source))]
    >>> pairs = Interchanges("signs", base, {"sign": source}, read(source), read(base), kinds=kinds)
    >>> truth = AlignedLinear("0", torch.tensor([[1.0], [0.0]]), {"sign": [0]})
    >>> disentanglement(subject, pairs, truth).estimate.value
    1.0

    References
    ----------
    Huang, Wu, Potts, Geva, Geiger (2024). RAVEL. https://arxiv.org/abs/2402.17700
    """
    kinds = np.array(_asked(pairs))
    require_aligned(basis, subject)
    data = prepare(subject, pairs, basis.site, basis.position)
    right = (data.predictions == pairs.before.cpu()).numpy()
    asked = sorted({str(k) for k in kinds[right]})
    variable = pairs.variables[0]
    if variable not in asked or len(asked) < 2:
        raise Degenerate(f"the subject answers rightly only pairs that ask {asked}: cause or isolation cannot be scored.")

    def scores(hits: np.ndarray, rows: np.ndarray) -> tuple[float, float]:
        share = {k: hits[rows & (kinds == k)].mean() if (rows & (kinds == k)).any() else 0.0 for k in asked}
        return share[variable], float(np.mean([s for k, s in share.items() if k != variable]))

    hits = interchange_hits(data, basis).double().numpy()
    cause, iso = scores(hits, right)
    chance = [np.mean(scores(interchange_hits(data, random_alignment(basis, seed, i)).double().numpy(), right))
              for i in range(random)]  # fmt: skip
    index = np.arange(len(hits))

    def resampled(rows: np.ndarray) -> float:
        chosen = rows.astype(int)
        kept = chosen[right[chosen]]
        parts = {k: hits[kept[kinds[kept] == k]] for k in asked}
        means = {k: float(v.mean()) if len(v) else 0.5 for k, v in parts.items()}
        return (means[variable] + float(np.mean([m for k, m in means.items() if k != variable]))) / 2

    estimate = cluster_bootstrap(index, pairs.groups, statistic=resampled, draws=500, seed=seed)
    return Finding(
        f"'{basis.name}' at {basis.site} carries {variable} and no other attribute", estimate=estimate,
        nulls=(Null("random subspaces of equal size", np.array(chance), (cause + iso) / 2),),
        controls={"cause": float(cause), "iso": iso, "pairs counted": float(right.mean())}, table=by_target(pairs, hits),
        provenance=Provenance(subject=subject.fingerprint(), data=pairs.fingerprint(), seed=seed),
    )  # fmt: skip

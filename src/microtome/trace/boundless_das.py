"""Boundless distributed alignment search: the rotation and the number of coordinates are both learned."""

from typing import Any

from microtome.errors import UsageError
from microtome.method import Paper, method
from microtome.subject.frame import Position
from microtome.trace.alignment.basis import Aligned
from microtome.trace.alignment.fit import fitted
from microtome.trace.alignment.maps import Boundless


@method(
    question="trace",
    paper=Paper("Wu, Geiger, Icard, Potts, Goodman", 2023, "Interpretability at Scale: Identifying Causal Mechanisms in Alpaca",
                "https://arxiv.org/abs/2305.08809"),
    needs=("subject", "task"),
    gives="Basis",
    stochastic=True,
    cost="as das, with a rotation of the whole site: O(d^3) per update",
    claim="Learned boundaries find how many rotated coordinates a causal variable takes, without a search over sizes.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="That the width is the variable's dimension: it depends on the penalty.",
    tiny={"steps": 200, "batch": 32, "lr": 0.02, "penalty": 0.3},
)  # fmt: skip
def boundless_das(
    subject: Any, pairs: Any, *, site: str, position: Position = None, penalty: float = 1.0, steps: int = 1000,
    batch: int = 64, lr: float = 1e-2, seed: int = 0,
) -> Aligned:  # fmt: skip
    """Learn a rotation and, for each variable, how many of its coordinates to interchange.

    ``h' = R^T [(1 - m) R h + m R s]`` with ``m_i = sigmoid((i + 1/2 - l) / T) sigmoid((r - i - 1/2) / T)``; contiguous blocks
    [l, r] with learned widths, which together start at half of the site. Minimises cross-entropy against the counterfactual
    labels plus ``penalty * sum of widths / d``. T falls linearly from d / 16 to 0.1 coordinates; the basis returned has the
    HARD mask.

    Parameters
    ----------
    subject : Subject
    pairs : Interchanges
    site : str
    position : int, list of int, tensor or None
        Positions written; None = all.
    penalty : float, default 1.0
        Weight of the widths, as shares of the site. Reference implementation: 1.
    steps, batch : int
        Updates and pairs per update. Default 1000 of 64. Paper: three epochs of 8,000 pairs, 64 per update.
    lr : float, default 1e-2
        Of the rotation; boundaries learn ten times as fast. Paper: 1e-3 and 1e-2.
    seed : int, default 0
        Start and batches.

    Returns
    -------
    Aligned
        Only the coordinates taken. ``metrics``: width, train_iia (hard mask), soft_iia (the last soft mask) and hot_iia
        (the first temperature).

    Raises
    ------
    UsageError, SiteError, ShapeError
        A negative penalty; an unknown site or position; sources of another length than their base.
    Degenerate
        No pair whose counterfactual differs from the base answer.
    NonFinite
        Values, logits or the loss are NaN.

    Notes
    -----
    Null: on a network with re-drawn weights accuracy stays near the unedited output's share.
    Misleads when the soft mask is judged: it mixes base and source everywhere. Read ``soft_iia`` beside the hard one.

    Examples
    --------
    >>> import torch
    >>> from microtome.stimuli import Interchanges
    >>> from microtome.subject.subject import Subject
    >>> subject = Subject(torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(8, 2, bias=False)))
    >>> _ = subject.module[1].weight.data.copy_(torch.stack([torch.ones(8), -torch.ones(8)]))
    >>> base, source = torch.randn(2, 256, 8, generator=torch.Generator().manual_seed(0))
    >>> label = lambda x: (x.sum(1) < 0).long()
    >>> pairs = Interchanges("sum", base, {"sum": source}, label(source), label(base))
    >>> basis = boundless_das(subject, pairs, site="0", steps=300, lr=0.05)
    >>> len(basis.units()) < 4, basis.metrics["train_iia"] > 0.95
    (True, True)

    References
    ----------
    Wu, Geiger, Icard, Potts, Goodman (2023). Interpretability at Scale: Identifying Causal Mechanisms in Alpaca.
    https://arxiv.org/abs/2305.08809
    """
    if not penalty >= 0:
        raise UsageError(f"penalty must be a number >= 0, got {penalty!r}.")

    def make(data: Any) -> Boundless:
        return Boundless(data.base.shape[-1], data.pairs.variables, penalty, seed)

    return fitted(subject, pairs, site, position, make, steps=steps, batch=batch, lr=lr, seed=seed, name="boundless_das")

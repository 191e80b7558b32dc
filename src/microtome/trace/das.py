"""Distributed alignment search: a rotation in which causal variables have coordinates of their own."""

from typing import Any

from microtome.method import Paper, method
from microtome.subject.frame import Position
from microtome.trace.alignment.basis import Aligned
from microtome.trace.alignment.fit import fitted, sizes_for
from microtome.trace.alignment.maps import Rotation


@method(
    question="trace",
    paper=Paper("Geiger, Wu, Potts, Icard, Goodman", 2023, "Finding Alignments Between Interpretable Causal Variables and "
                "Distributed Neural Representations", "https://arxiv.org/abs/2303.02536"),
    needs=("subject", "task"),
    gives="Basis",
    stochastic=True,
    cost="one forward of base and sources, then steps * batch forwards and backwards of what follows the site",
    claim="A learned rotation aligns causal variables with a trained network where no choice of neurons does.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="That the network computes the variable: on held-out pairs and beside an untrained network it may.",
    tiny={"size": 8, "steps": 150, "batch": 32, "lr": 0.02},
)  # fmt: skip
def das(
    subject: Any, pairs: Any, *, site: str, position: Position = None, size: int | dict[str, int] = 8, steps: int = 500,
    batch: int = 64, lr: float = 1e-2, seed: int = 0,
) -> Aligned:  # fmt: skip
    """Learn orthonormal coordinates whose interchange makes the network answer as the causal model does.

    ``h' = h + sum_j (s_j - h) W_j W_j^T`` with orthonormal columns W = [W_1 .. W_m] of size [d, k_1 + .. + k_m], s_j the
    value of the site on the source of variable j; W minimises the cross-entropy of the outputs against the counterfactual
    labels. The network is left alone. This is the full rotation: what it has beside W keeps the base's value.

    Parameters
    ----------
    subject : Subject
    pairs : Interchanges
        Balanced on labels (``mt.stimuli.interchanges``); keep others for `interchange`.
    site : str
        Where. Heads are taken side by side, images channel by channel.
    position : int, list of int, tensor or None
        Positions written; None = all.
    size : int or dict of variable -> int, default 8
        Coordinates of each variable.
    steps, batch : int
        Updates and pairs per update. Default 500 of 64.
    lr : float, default 1e-2
        Adam's rate, warmed up over a tenth of the updates, then linear to 0. Paper: 1e-3 for more updates.
    seed : int, default 0
        Start and batches.

    Returns
    -------
    Aligned
        A basis with ``blocks`` (variable -> coordinates) for `interchange` and ``mt.swap``; `metrics` on these pairs.

    Raises
    ------
    UsageError, SiteError, ShapeError
        More coordinates than the site has; an unknown site or position; sources of another length than their base.
    Degenerate
        No pair whose counterfactual differs from the base answer.
    NonFinite
        Values, logits or the loss are NaN.

    Notes
    -----
    Null: on a network with re-drawn weights it stays near the share of labels that the unedited output has right.
    Misleads when read alone: fitted accuracy can be had from an untrained network (`alignment_selectivity`), and a subspace
    can work through directions that the network never uses (`subspace_illusion`).

    Examples
    --------
    >>> import torch
    >>> from microtome.stimuli import Interchanges
    >>> from microtome.subject.subject import Subject
    >>> subject = Subject(torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(4, 2, bias=False)))
    >>> _ = subject.module[1].weight.data.copy_(torch.tensor([[1.0, 1, 0, 0], [-1.0, -1, 0, 0]]))
    >>> base, source = torch.randn(2, 256, 4, generator=torch.Generator().manual_seed(0))
    >>> label = lambda x: (x[:, 0] + x[:, 1] < 0).long()
    >>> pairs = Interchanges("sum", base, {"sum": source}, label(source), label(base))
    >>> basis = das(subject, pairs, site="0", size=1, steps=100, lr=0.1)
    >>> basis.metrics["train_iia"] > 0.95, basis.blocks
    (True, {'sum': [0]})

    References
    ----------
    Geiger, Wu, Potts, Icard, Goodman (2023). Finding Alignments Between Interpretable Causal Variables and Distributed
    Neural Representations. https://arxiv.org/abs/2303.02536
    """

    def make(data: Any) -> Rotation:
        width = data.base.shape[-1]
        return Rotation(width, sizes_for(size, data.pairs.variables, width), seed)

    return fitted(subject, pairs, site, position, make, steps=steps, batch=batch, lr=lr, seed=seed, name="das")

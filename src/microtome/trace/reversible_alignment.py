"""A non-linear alignment: a reversible network in place of the rotation of distributed alignment search."""

from typing import Any

from microtome.method import Paper, method
from microtome.subject.frame import Position
from microtome.trace.alignment.basis import Aligned
from microtome.trace.alignment.fit import fitted, sizes_for
from microtome.trace.alignment.revnet import RevNet

#: Pairs per update.
BATCH = 256


@method(
    question="trace",
    paper=Paper("Sutter, Minder, Hofmann, Pimentel", 2025, "The Non-Linear Representation Dilemma: Is Causal Abstraction "
                "Enough for Mechanistic Interpretability?", "https://arxiv.org/abs/2507.08802"),
    needs=("subject", "task"),
    gives="Basis",
    stochastic=True,
    cost="as das, with 2 (variables + 2) * blocks small networks per update",
    claim="With a powerful enough bijection even an untrained network is aligned with any algorithm.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="Anything about the network by its accuracy alone: the map may compute the variable itself.",
    tiny={"size": 16, "blocks": 2, "width": 16, "steps": 60, "lr": 0.01},
    skips={"null": "an untrained network is aligned as well: that is what the paper shows"},
)  # fmt: skip
def reversible_alignment(
    subject: Any, pairs: Any, *, site: str, position: Position = None, size: int | dict[str, int] = 8, blocks: int = 4,
    width: int = 64, steps: int = 1000, lr: float = 3e-3, seed: int = 0,
) -> Aligned:  # fmt: skip
    """Learn a bijection of the site in whose coordinates the causal variables can be interchanged.

    ``h' = phi^-1(phi(h) with the aligned coordinates from phi(s))``; phi is `blocks` reversible blocks
    ``y1 = x1 + F(x2)``, ``y2 = x2 + G(y1)`` whose branches have one hidden layer of `width` units.

    Parameters
    ----------
    subject : Subject
    pairs : Interchanges
        Many, and fresh ones to judge by: the map has thousands of parameters.
    site : str
        Of even width.
    position : int, list of int, tensor or None
        Positions written; None = all.
    size : int or dict of variable -> int, default 8
        Coordinates of each variable.
    blocks, width : int
        Reversible blocks and hidden units of a branch. Default 4 of 64. Paper: up to 10 blocks.
    steps : int, default 1000
        Updates, of 256 pairs each.
    lr : float, default 3e-3
        Adam's rate.
    seed : int, default 0
        Start and batches.

    Returns
    -------
    Aligned
        Encodes and decodes all of the site; ``directions`` is None.

    Raises
    ------
    UsageError, SiteError, ShapeError
        A site of odd width; more coordinates than it has; otherwise as `das`.
    Degenerate
        No pair whose counterfactual differs from the base answer.
    NonFinite
        Values, logits or the loss are NaN.

    Notes
    -----
    Null: an untrained network reaches almost the same accuracy.
    Misleads when reported alone: give `alignment_selectivity` beside it.

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
    >>> basis = reversible_alignment(subject, pairs, site="0", size=2, blocks=2, width=16, steps=100)
    >>> torch.allclose(basis.decode(basis.encode(base)), base, atol=1e-5), basis.metrics["train_iia"] > 0.9
    (True, True)

    References
    ----------
    Sutter, Minder, Hofmann, Pimentel (2025). The Non-Linear Representation Dilemma: Is Causal Abstraction Enough for
    Mechanistic Interpretability? https://arxiv.org/abs/2507.08802
    """

    def make(data: Any) -> RevNet:
        like = data.base
        return RevNet(sizes_for(size, data.pairs.variables, like.shape[-1]), like, blocks, width, seed)

    return fitted(subject, pairs, site, position, make, steps=steps, batch=BATCH, lr=lr, seed=seed,
                  name="reversible_alignment")  # fmt: skip

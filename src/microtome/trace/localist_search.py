"""Localist alignment: the best assignment of variables to neurons, by trial. The baseline of distributed search."""

from itertools import permutations
from typing import Any

import torch

from microtome.method import Paper, method
from microtome.subject.frame import Position
from microtome.trace.alignment.basis import Aligned, AlignedLinear, names_of
from microtome.trace.alignment.data import prepare
from microtome.trace.alignment.fit import sizes_for
from microtome.trace.alignment.maps import blocks_of
from microtome.trace.alignment.score import interchange_accuracy


@method(
    question="trace",
    paper=Paper("Geiger, Lu, Icard, Potts", 2021, "Causal Abstractions of Neural Networks",
                "https://arxiv.org/abs/2106.02997"),
    needs=("subject", "task"),
    gives="Basis",
    stochastic=False,
    cost="one forward of what follows the site per unit and variable, and per assignment tried",
    claim="Where variables are disjoint sets of neurons, trying assignments finds them.",
    notion="decomposability",
    serves="causality",
    cannot_claim="That no other assignment is better: not all are tried.",
    tiny={"size": 8},
)  # fmt: skip
def localist_search(
    subject: Any, pairs: Any, *, site: str, position: Position = None, size: int | dict[str, int] = 8, at_most: int = 512
) -> Aligned:
    """Try assignments of neurons to variables and keep the one with the best interchange accuracy.

    Tried are consecutive blocks in the order of the units, and in the order of how much each unit alone serves a variable
    more than the others (its own accuracy on the pairs), for every order of the variables.

    Parameters
    ----------
    subject : Subject
    pairs : Interchanges
    site : str
    position : int, list of int, tensor or None
        Positions written; None = all.
    size : int or dict of variable -> int, default 8
        Units of each variable.
    at_most : int, default 512
        Assignments tried.

    Returns
    -------
    Aligned
        The units themselves, with ``blocks``.

    Raises
    ------
    UsageError, SiteError, ShapeError
        More units than the site has; otherwise as `das`.
    Degenerate
        No pair whose counterfactual differs from the base answer.
    NonFinite
        Values or logits are NaN.

    Notes
    -----
    Null: on a network with re-drawn weights accuracy stays near the unedited output's share.
    Misleads when a variable is spread over neurons that others use too: a rotation may still find it.

    Examples
    --------
    >>> import torch
    >>> from microtome.stimuli import Interchanges
    >>> from microtome.subject.subject import Subject
    >>> subject = Subject(torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(4, 2, bias=False)))
    >>> _ = subject.module[1].weight.data.copy_(torch.tensor([[0.0, 1, 0, 1], [0.0, -1, 0, -1]]))
    >>> base, source = torch.randn(2, 64, 4, generator=torch.Generator().manual_seed(0))
    >>> label = lambda x: (x[:, 1] + x[:, 3] < 0).long()
    >>> pairs = Interchanges("sum", base, {"sum": source}, label(source), label(base))
    >>> sorted(localist_search(subject, pairs, site="0", size=2).blocks["sum"])
    [1, 3]

    References
    ----------
    Geiger, Lu, Icard, Potts (2021). Causal Abstractions of Neural Networks. https://arxiv.org/abs/2106.02997
    """
    data = prepare(subject, pairs, site, position)
    width, variables = data.base.shape[-1], pairs.variables
    sizes = sizes_for(size, variables, width)
    about = {"position": position.tolist() if isinstance(position, torch.Tensor) else position}
    eye = torch.eye(width)

    def basis(blocks: dict[str, list[int]]) -> AlignedLinear:
        return AlignedLinear(data.suffix.site.name, eye, blocks, decoder=eye, name="units", names=names_of(width, blocks),
                             subject=data_of, **about)  # fmt: skip

    data_of = subject.fingerprint()
    alone = torch.tensor([
        [interchange_accuracy(data, basis({u: [i] if u == v else [] for u in variables})) for i in range(width)]
        for v in variables
    ])  # fmt: skip
    tried = _assignments(sizes, width, alone)[:at_most]
    scores = [interchange_accuracy(data, basis(blocks)) for blocks in tried]
    best = basis(tried[max(range(len(tried)), key=scores.__getitem__)])
    unedited = float((data.predictions == pairs.labels).float().mean())
    best.metrics = {"train_iia": max(scores), "tried": float(len(tried)), "unedited": unedited, "majority": pairs.majority}
    return best


def _assignments(sizes: dict[str, int], width: int, alone: torch.Tensor) -> list[dict[str, list[int]]]:
    """Blocks side by side at every offset in every order of the variables; and each variable's best units in turn."""
    found = []
    for order in list(permutations(sizes))[:24]:
        free = torch.ones(width, dtype=torch.bool)
        greedy = {}
        for v in order:
            j = list(sizes).index(v)
            others = alone[[i for i in range(len(sizes)) if i != j]]
            more = alone[j] - (others.max(0).values if len(others) else 0.0)
            ranked = more.masked_fill(~free, -torch.inf).argsort(descending=True, stable=True)[: sizes[v]]
            greedy[v] = ranked.tolist()
            free[ranked] = False
        found.append({v: greedy[v] for v in sizes})
        blocks = blocks_of({v: sizes[v] for v in order})
        for offset in range(width - sum(sizes.values()) + 1):
            found.append({v: [i + offset for i in blocks[v]] for v in sizes})
    return found

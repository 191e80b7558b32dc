"""Shapley values by sampled orders."""

from typing import Any

import torch
from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.ends import counted
from microtome.attribute.imputers import Imputer
from microtome.attribute.masks import game
from microtome.attribute.place import Baseline
from microtome.attribute.samplers import growing, permutations
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper("Štrumbelj, Kononenko", 2010, "An Efficient Explanation of Individual Classifications using Game Theory", "https://jmlr.org/papers/v11/strumbelj10a.html"),
    needs=("subject", "task"),
    gives="Attribution",
    stochastic=True,
    cost="`samples` * (players - 1) forwards, stacked on the batch",
    claim="The mean gain of a player over orders of arrival is its Shapley value.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="What the network does on inputs of the data: absent players make inputs that it never saw.",
    tiny={'samples': 8},
)  # fmt: skip
def shapley_sampling(
    subject: Any,
    task: Any,
    *,
    at: str | None = None,
    baseline: Baseline | Imputer = "zero",
    features: int | Tensor = 1,
    samples: int = 32,
    metric: str | None = None,
    seed: int = 0,
) -> Attribution:
    """Mean gain of each player over random orders of arrival.

    ``phi_j = mean over orders of v(before j and j) - v(before j)``; every second order is the reverse of the one before.

    Parameters
    ----------
    subject : Subject
    task : Task
    at : str, optional
        Site; default the embeddings, or the input of the first layer.
    baseline : str, number, Tensor or Imputer
        What absent cells are filled with: "zero" (default), "mean", "corrupt", "blur", a number, values, or an imputer
        (`Others`, `ConditionalGaussian`).
    features : int or LongTensor, default 1
        Positions, or side of the squares, per player; or the player of each place (or cell). Sites without places have one
        player per unit.
    samples : int, default 32
        Orders.
    metric : str, optional
        Default: the task's.
    seed : int, default 0

    Returns
    -------
    Attribution
        ``residual`` is 0 by construction, for any number of orders.

    Raises
    ------
    UsageError, SiteError, ShapeError, Degenerate, NonFinite

    Notes
    -----
    Null: complete on any network; compare with `subject.twin()`.
    Misleads when players are correlated: coalitions then hold what never comes together (see `ConditionalGaussian`).

    Examples
    --------
    >>> import torch
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> layer = torch.nn.Linear(3, 2, bias=False)
    >>> layer.weight.data = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    >>> x = torch.tensor([[1.0, 1.0, 2.0]])
    >>> task = Task("first class", x, -x, torch.tensor([0]), torch.tensor([1]), kind="image")
    >>> shapley_sampling(Subject(torch.nn.Sequential(layer)), task).values.round(decimals=4).tolist()
    [[1.0, 2.0, -2.0]]

    References
    ----------
    Štrumbelj, Kononenko (2010). An Efficient Explanation of Individual Classifications using Game Theory. JMLR 11.
    """
    counted("samples", samples)
    g = game(subject, task, at=at, baseline=baseline, features=features, metric=metric, seed=seed)
    both = g.full()
    phi = torch.zeros(both.shape[1], g.players, dtype=torch.float64)
    for order in permutations(g.players, samples, seed):
        worth = torch.cat([both[1:], g.worth(growing(order)[1:-1]), both[:1]])
        phi[:, order.tolist()] += worth.diff(dim=0).T / samples
    return g.attribution(
        phi, "Shapley sampling", samples * (g.players - 1) + 4,
        {"samples": samples, "seed": seed}, reference=both[1].to(g.ends.output),
    )  # fmt: skip

"""Feature permutation."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.ends import counted
from microtome.attribute.masks import game
from microtome.attribute.samplers import singles
from microtome.errors import Degenerate
from microtome.method import Paper, method
from microtome.rng import rng


@method(
    question="attribute",
    paper=Paper("Breiman", 2001, "Random Forests", "https://doi.org/10.1023/A:1010933404324"),
    needs=("subject", "task"),
    gives="Attribution",
    stochastic=True,
    cost="`draws` forwards per player, stacked on the batch",
    claim="Scrambling a feature that a network uses costs it; scrambling others does not.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="Joint effects: players that stand in for each other show nothing when removed one at a time.",
    tiny={},
    skips={"batch": "other examples of the batch are what is filled in"},
)  # fmt: skip
def permutation(
    subject: Any,
    task: Any,
    *,
    at: str | None = None,
    features: int | Tensor = 1,
    draws: int = 4,
    metric: str | None = None,
    seed: int = 0,
) -> Attribution:
    """Give one player at a time the value of another example and measure the drop.

    ``A_j = m(x) - mean over draws of m(x with j from another example)``. The mean over examples is permutation importance.

    Parameters
    ----------
    subject : Subject
    task : Task
    at : str, optional
        Site; default the embeddings, or the input of the first layer.
    features : int or LongTensor, default 1
        Positions, or side of the squares, per player; or the player of each place (or cell). Sites without places have one
        player per unit.
    draws : int, default 4
        Other examples per player.
    metric : str, optional
        Default: the task's.
    seed : int, default 0

    Returns
    -------
    Attribution
        Each player's drop, shared evenly by its cells.

    Raises
    ------
    UsageError, SiteError, ShapeError, Degenerate, NonFinite

    Notes
    -----
    Null: in a random network players have effects too; compare with `subject.twin()`.
    Misleads when players are correlated: the mix never occurs, and what one holds the others hold too.

    Examples
    --------
    >>> import torch
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> layer = torch.nn.Linear(3, 2, bias=False)
    >>> layer.weight.data = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    >>> x = torch.tensor([[1.0, 1.0, 2.0], [0.0, 1.0, 1.0]])
    >>> task = Task("first class", x, -x, torch.tensor([0, 0]), torch.tensor([1, 1]), kind="image")
    >>> permutation(Subject(torch.nn.Sequential(layer)), task).values.shape
    torch.Size([2, 3])

    References
    ----------
    Breiman (2001). Random Forests. https://doi.org/10.1023/A:1010933404324
    """
    counted("draws", draws)
    g = game(subject, task, at=at, baseline="zero", features=features, metric=metric)
    n = len(g.ends.end)
    if n < 2:
        raise Degenerate("permutation takes values from other examples: it needs at least 2.")
    first = g.full()[0]
    drops = torch.zeros(g.players, n, dtype=torch.float64)
    for shift in rng(seed, "permutation").permutation(n - 1)[:draws] + 1:
        other = g.ends.end.roll(int(shift), 0)
        drops += first - replace(g, fill=lambda x, kept, other=other: other + kept * (x - other)).worth(singles(g.players))
    return g.attribution((drops / min(draws, n - 1)).T, "permutation", g.players * draws + 4,
                         {"draws": draws, "seed": seed})  # fmt: skip

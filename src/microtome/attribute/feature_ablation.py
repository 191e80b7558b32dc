"""Feature ablation."""

from typing import Any

from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.imputers import Imputer
from microtome.attribute.masks import game
from microtome.attribute.place import Baseline
from microtome.attribute.samplers import singles
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper("Zeiler, Fergus", 2013, "Visualizing and Understanding Convolutional Networks", "https://arxiv.org/abs/1311.2901"),
    needs=("subject", "task"),
    gives="Attribution",
    stochastic=False,
    cost="one forward per player, stacked on the batch",
    claim="Removing the features that a network uses lowers its output.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="Joint effects: players that stand in for each other show nothing when removed one at a time.",
    tiny={},
)  # fmt: skip
def feature_ablation(
    subject: Any,
    task: Any,
    *,
    at: str | None = None,
    baseline: Baseline | Imputer = "zero",
    features: int | Tensor = 1,
    metric: str | None = None,
) -> Attribution:
    """Remove one player at a time and measure the drop.

    ``A_j = m(x) - m(x without j)``.

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
    metric : str, optional
        Default: the task's.

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
    Misleads when what is filled in leaves the data: the drop is then surprise.

    Examples
    --------
    >>> import torch
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> layer = torch.nn.Linear(3, 2, bias=False)
    >>> layer.weight.data = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    >>> x = torch.tensor([[1.0, 1.0, 2.0]])
    >>> task = Task("first class", x, -x, torch.tensor([0]), torch.tensor([1]), kind="image")
    >>> feature_ablation(Subject(torch.nn.Sequential(layer)), task).values.tolist()
    [[1.0, 2.0, -2.0]]

    References
    ----------
    Zeiler, Fergus (2013). Visualizing and Understanding Convolutional Networks. https://arxiv.org/abs/1311.2901
    """
    g = game(subject, task, at=at, baseline=baseline, features=features, metric=metric)
    drops = g.full()[0] - g.worth(singles(g.players))
    return g.attribution(drops.T, "feature ablation", g.players + 2, {})

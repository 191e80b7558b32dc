"""RISE."""

from typing import Any

from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.ends import counted
from microtome.attribute.imputers import Imputer
from microtome.attribute.masks import game
from microtome.attribute.place import Baseline
from microtome.attribute.samplers import coin_flips
from microtome.errors import UsageError
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper("Petsiuk, Das, Saenko", 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models", "https://arxiv.org/abs/1806.07421"),
    needs=("subject", "task"),
    gives="Attribution",
    stochastic=True,
    cost="`samples` forwards, stacked on the batch",
    claim="The mean output over random masks that show a place points at what a black box uses.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="A share of the output: the map has the mean output as its floor, only differences between places speak.",
    tiny={'samples': 256},
)  # fmt: skip
def rise(
    subject: Any,
    task: Any,
    *,
    at: str | None = None,
    baseline: Baseline | Imputer = "zero",
    features: int | Tensor = 1,
    samples: int = 2000,
    keep: float = 0.5,
    metric: str | None = None,
    seed: int = 0,
) -> Attribution:
    """Mean output over random masks that show a place.

    ``A_i = sum_k m(x * M_k) M_ki / (samples * keep)``, each player present with probability `keep`. The
    paper blurs the edges of its squares (`features`); these are sharp.

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
    samples : int, default 2000
        Masks (the paper: 4000 to 8000).
    keep : float, default 0.5
    metric : str, optional
        Default: the task's.
    seed : int, default 0

    Returns
    -------
    Attribution
        Raw: not centred.

    Raises
    ------
    UsageError, SiteError, ShapeError, Degenerate, NonFinite

    Notes
    -----
    Null: in a random network places differ too; compare with `subject.twin()`.
    Misleads when the metric has a large mean, then the floor of the map: only differences between places speak.

    Examples
    --------
    >>> import torch
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> layer = torch.nn.Linear(3, 2, bias=False)
    >>> layer.weight.data = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    >>> x = torch.tensor([[1.0, 1.0, 2.0]])
    >>> task = Task("first class", x, -x, torch.tensor([0]), torch.tensor([1]), kind="image")
    >>> found = rise(Subject(torch.nn.Sequential(layer)), task, samples=500).values[0]
    >>> bool(found[1] > found[0] > found[2])
    True

    References
    ----------
    Petsiuk, Das, Saenko (2018). RISE: Randomized Input Sampling for Explanation of Black-box Models.
    https://arxiv.org/abs/1806.07421
    """
    counted("samples", samples)
    if not 0 < keep < 1:
        raise UsageError(f"keep must be between 0 and 1, got {keep!r}.")
    g = game(subject, task, at=at, baseline=baseline, features=features, metric=metric, seed=seed)
    masks = coin_flips(g.players, samples, seed, keep)
    scores = g.worth(masks).T @ masks.double() / (samples * keep)
    return g.attribution(
        scores, "RISE", samples + 2, {"samples": samples, "keep": keep, "seed": seed}
    )  # fmt: skip

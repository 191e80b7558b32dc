"""Total Sobol indices."""

from typing import Any

from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.ends import counted
from microtome.attribute.imputers import Imputer
from microtome.attribute.masks import game
from microtome.attribute.place import Baseline
from microtome.attribute.samplers import pick_freeze
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper("Fel, Cadène, Chalvidal, Cord, Vigouroux, Serre", 2021,
                "Look at the Variance! Efficient Black-box Explanations with Sobol-based Sensitivity Analysis",
                "https://arxiv.org/abs/2111.04138"),
    needs=("subject", "task"),
    gives="Attribution",
    stochastic=True,
    cost="`samples` * (players + 2) forwards, stacked on the batch",
    claim="Total indices of a variance decomposition find places with their interactions.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="A direction: indices are not negative, a player that lowers the output has one too.",
    tiny={'samples': 32},
)  # fmt: skip
def sobol(
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
    """Share of the variance under random blending that each player takes part in.

    ``S_j = E[(v(A) - v(A with j from B))^2] / (2 Var v)``, A and B from a scrambled Sobol sequence in [0, 1]
    (Jansen's estimator).

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
        Points of each design; a power of two (the paper: 32, on 11 x 11 cells).
    metric : str, optional
        Default: the task's.
    seed : int, default 0

    Returns
    -------
    Attribution
        At least 0; sums to at least about 1.

    Raises
    ------
    UsageError, SiteError, ShapeError, Degenerate, NonFinite

    Notes
    -----
    Null: in a random network indices are as large, elsewhere; compare with `subject.twin()`.
    Misleads when the variance is next to nothing: shares of nothing are noise.

    Examples
    --------
    >>> import torch
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> layer = torch.nn.Linear(3, 2, bias=False)
    >>> layer.weight.data = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    >>> x = torch.tensor([[1.0, 1.0, 2.0]])
    >>> task = Task("first class", x, -x, torch.tensor([0]), torch.tensor([1]), kind="image")
    >>> found = sobol(Subject(torch.nn.Sequential(layer)), task, samples=256).values[0]
    >>> [round(float(v), 1) for v in found]
    [0.1, 0.4, 0.4]

    References
    ----------
    Fel et al. (2021). Look at the Variance! Efficient Black-box Explanations with Sobol-based Sensitivity Analysis.
    https://arxiv.org/abs/2111.04138
    """
    counted("samples", samples, 2)
    g = game(subject, task, at=at, baseline=baseline, features=features, metric=metric, seed=seed)
    designs = pick_freeze(g.players, samples, seed)
    worth = g.worth(designs.flatten(0, 1)).view(g.players + 2, samples, -1)
    variance = worth[:2].flatten(0, 1).var(dim=0).clamp(min=1e-30)
    scores = ((worth[0] - worth[2:]) ** 2).mean(dim=1) / (2 * variance)
    return g.attribution(
        scores.T, "Sobol total index", designs.shape[0] * samples + 2,
        {"samples": samples, "seed": seed},
    )  # fmt: skip

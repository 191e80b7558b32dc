"""KernelSHAP."""

from typing import Any

from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.ends import counted
from microtome.attribute.imputers import Imputer
from microtome.attribute.masks import game, weighted_least_squares
from microtome.attribute.place import Baseline
from microtome.attribute.samplers import kernel_coalitions
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper("Lundberg, Lee", 2017, "A Unified Approach to Interpreting Model Predictions", "https://arxiv.org/abs/1705.07874"),
    needs=("subject", "task"),
    gives="Attribution",
    stochastic=True,
    cost="`samples` forwards, stacked on the batch",
    claim="Weighted least squares on coalitions give the Shapley values.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="What the network does on inputs of the data: absent players make inputs that it never saw.",
    tiny={'samples': 256},
)  # fmt: skip
def kernel_shap(
    subject: Any,
    task: Any,
    *,
    at: str | None = None,
    baseline: Baseline | Imputer = "zero",
    features: int | Tensor = 1,
    samples: int = 2048,
    metric: str | None = None,
    seed: int = 0,
) -> Attribution:
    """Shapley values by weighted least squares on coalitions.

    ``min_phi sum_S w(S) (v(S) - v(0) - sum_{j in S} phi_j)^2`` with ``sum phi = v(N) - v(0)`` and
    ``w(S) = (m - 1) / (C(m, |S|) |S| (m - |S|))``. Exact where all 2^m - 2 coalitions fit in `samples`.

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
    samples : int, default 2048
        Coalitions, each asked of every example.
    metric : str, optional
        Default: the task's.
    seed : int, default 0

    Returns
    -------
    Attribution
        ``residual`` is 0 by construction.

    Raises
    ------
    UsageError, SiteError, ShapeError, Degenerate, NonFinite

    Notes
    -----
    Null: complete on any network; compare with `subject.twin()` and delete what it points at.
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
    >>> kernel_shap(Subject(torch.nn.Sequential(layer)), task).values.round(decimals=4).tolist()
    [[1.0, 2.0, -2.0]]

    References
    ----------
    Lundberg, Lee (2017). A Unified Approach to Interpreting Model Predictions. https://arxiv.org/abs/1705.07874
    """
    counted("samples", samples, 2)
    g = game(subject, task, at=at, baseline=baseline, features=features, metric=metric, seed=seed)
    both = g.full()
    masks, weights = kernel_coalitions(g.players, samples, seed)
    gain = g.worth(masks) - both[1]
    phi = weighted_least_squares(masks, gain, weights, both[0] - both[1])
    return g.attribution(
        phi, "KernelSHAP", len(masks) + 4,
        {"samples": samples, "seed": seed}, reference=both[1].to(g.ends.output),
    )  # fmt: skip

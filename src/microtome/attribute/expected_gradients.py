"""Expected gradients."""

from typing import Any

from microtome.attribute.attribution import Attribution
from microtome.attribute.expected import expected_map
from microtome.attribute.imputers import Others
from microtome.attribute.place import Baseline
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper("Erion, Janizek, Sturmfels, Lundberg, Lee", 2021, "Improving performance of deep learning models with "
                "axiomatic attribution priors and expected gradients", "https://arxiv.org/abs/1906.10670"),
    needs=("subject", "task", "gradients"),
    gives="Attribution",
    stochastic=True,
    cost="`samples` forwards and backwards, in chunks of bounded memory",
    claim="The mean of integrated gradients over baselines from the data adds up to the difference from their mean output.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="What absence means: it is whatever the other examples have there.",
    tiny={"samples": 32},
    skips={"batch": "other examples of the batch are the baselines"},
)  # fmt: skip
def expected_gradients(
    subject: Any,
    task: Any,
    *,
    at: str | None = None,
    baseline: Baseline | Others | None = None,
    samples: int = 64,
    metric: str | None = None,
    seed: int = 0,
) -> Attribution:
    """Average integrated gradients over baselines drawn from data, one random point of the line per baseline.

    ``A_i = E[(x_i - x'_i) dm/dx_i (x' + a (x - x'))]``, x' from the data, a uniform on [0, 1].

    Parameters
    ----------
    subject : Subject
    task : Task
    at : str, optional
        Site; default the embeddings, or the input of the first layer.
    baseline : Others, str, number or Tensor, optional
        `Others(rows)`: values of the site on other examples (the paper: training data). Default: the task's own examples. One
        baseline gives integrated gradients by random points.
    samples : int, default 64
        Draws (the paper: 200); points are stratified along the line.
    metric : str, optional
        Default: the task's.
    seed : int, default 0

    Returns
    -------
    Attribution
        ``reference``: the mean metric over the baselines that were drawn; ``residual`` is the error of sampling.

    Raises
    ------
    UsageError, SiteError, ShapeError, NonFinite

    Notes
    -----
    Null: adds up on any network; compare with `subject.twin()`.
    Misleads when the other examples are of the same kind: what they share gets nothing.

    Examples
    --------
    >>> import torch
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> layer = torch.nn.Linear(3, 2, bias=False)
    >>> layer.weight.data = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    >>> x = torch.tensor([[1.0, 1.0, 2.0]])
    >>> task = Task("first class", x, -x, torch.tensor([0]), torch.tensor([1]), kind="image")
    >>> found = expected_gradients(Subject(torch.nn.Sequential(layer)), task, baseline=Others(torch.zeros(4, 3)))
    >>> found.values.round(decimals=3).tolist()
    [[1.0, 2.0, -2.0]]

    References
    ----------
    Erion, Janizek, Sturmfels, Lundberg, Lee (2021). Improving performance of deep learning models with axiomatic attribution
    priors and expected gradients. https://arxiv.org/abs/1906.10670
    """
    return expected_map(
        subject, task, "expected gradients", at=at, baseline=baseline, noise=0.0, samples=samples, metric=metric, seed=seed
    )

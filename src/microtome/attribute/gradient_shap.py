"""GradientSHAP."""

from typing import Any

from microtome.attribute.attribution import Attribution
from microtome.attribute.expected import expected_map
from microtome.attribute.imputers import Others
from microtome.attribute.place import Baseline
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper("Lundberg, Lee", 2017, "A Unified Approach to Interpreting Model Predictions",
                "https://arxiv.org/abs/1705.07874"),
    needs=("subject", "task", "gradients"),
    gives="Attribution",
    stochastic=True,
    cost="`samples` forwards and backwards, in chunks of bounded memory",
    claim="Where the network is linear between baselines and inputs and features are independent, it gives Shapley values.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="Shapley values of a network that bends: those need coalitions (`kernel_shap`).",
    tiny={"samples": 32},
    skips={"batch": "other examples of the batch are the baselines"},
)  # fmt: skip
def gradient_shap(
    subject: Any,
    task: Any,
    *,
    at: str | None = None,
    baseline: Baseline | Others | None = None,
    noise: float = 0.05,
    samples: int = 64,
    metric: str | None = None,
    seed: int = 0,
) -> Attribution:
    """Expected gradients of noisy copies of the input.

    ``A_i = E[(x~_i - x'_i) dm/dx_i (x' + a (x~ - x'))]``, ``x~ = x + e`` with Gaussian e, x' from the data, a uniform.

    Parameters
    ----------
    subject : Subject
    task : Task
    at : str, optional
        Site; default the embeddings, or the input of the first layer.
    baseline : Others, str, number or Tensor, optional
        `Others(rows)`: values of the site on other examples. Default: the task's own examples.
    noise : float, default 0.05
        Standard deviation in ranges of the example; 0 gives expected gradients.
    samples : int, default 64
    metric : str, optional
        Default: the task's.
    seed : int, default 0

    Returns
    -------
    Attribution
        ``reference``: the mean metric over the baselines that were drawn; ``residual``: sampling and noise.

    Raises
    ------
    UsageError, SiteError, ShapeError, NonFinite

    Notes
    -----
    Null: adds up on any network; compare with `subject.twin()`.
    Misleads when read as Shapley values of a network with interactions.

    Examples
    --------
    >>> import torch
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> layer = torch.nn.Linear(3, 2, bias=False)
    >>> layer.weight.data = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    >>> x = torch.tensor([[1.0, 1.0, 2.0]])
    >>> task = Task("first class", x, -x, torch.tensor([0]), torch.tensor([1]), kind="image")
    >>> gradient_shap(Subject(torch.nn.Sequential(layer)), task, baseline="zero", noise=0.0).values.round(decimals=3).tolist()
    [[1.0, 2.0, -2.0]]

    References
    ----------
    Lundberg, Lee (2017). A Unified Approach to Interpreting Model Predictions. https://arxiv.org/abs/1705.07874
    """
    return expected_map(
        subject, task, "GradientSHAP", at=at, baseline=baseline, noise=noise, samples=samples, metric=metric, seed=seed
    )

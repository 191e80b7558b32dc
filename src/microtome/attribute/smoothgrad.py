"""SmoothGrad."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.noise import noise_map
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper(
        "Smilkov, Thorat, Kim, Viégas, Wattenberg", 2017,
        "SmoothGrad: removing noise by adding noise",
        'https://arxiv.org/abs/1706.03825',
    ),
    needs=("subject", "task", "gradients"),
    gives="Attribution",
    stochastic=True,
    cost="`samples` forwards and backwards",
    claim="The mean gradient over noisy copies is smoother and points more at the object than the gradient.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="The effect of an input: it is the local slope of the network blurred by the noise.",
    tiny={"samples": 8},
)  # fmt: skip
def smoothgrad(
    subject: Any,
    task: Any,
    *,
    at: str | None = None,
    noise: float = 0.15,
    samples: int = 32,
    metric: str | None = None,
    seed: int = 0,
) -> Attribution:
    """Average the gradient over noisy copies of the input.

    ``A = E[dm/dx (x + e)]``, e Gaussian.

    Parameters
    ----------
    subject : Subject
    task : Task
    at : str, optional
        Site; default the embeddings, or the input of the first layer.
    noise : float, default 0.15
        Standard deviation in ranges (largest minus smallest value) of the example (the paper: 0.1 to 0.2).
    samples : int, default 32
        Noisy copies.
    seed : int, default 0
    metric : str, optional
        Default: the task's.

    Returns
    -------
    Attribution
        No residual: a mean of gradients adds up to nothing.

    Raises
    ------
    UsageError, SiteError, NonFinite

    Notes
    -----
    Null: a random network gives smooth maps as well: smoothness is no evidence.
    Misleads when the noise leaves the data; the slopes are then those of places that the network never saw.

    Examples
    --------
    >>> import torch
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.ReLU(), torch.nn.Linear(2, 2, bias=False))
    >>> for i in (0, 2):
    ...     net[i].weight.data = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    >>> x = torch.tensor([[2.0, 1.0]])
    >>> task = Task("first class", x, -x, torch.tensor([0]), torch.tensor([1]), kind="image")
    >>> [round(v, 3) for v in smoothgrad(Subject(net), task, noise=0.0, samples=2).values[0].tolist()]
    [2.0, -2.0]

    References
    ----------
    Smilkov, Thorat, Kim, Viégas, Wattenberg (2017). SmoothGrad: removing noise by adding noise.
    https://arxiv.org/abs/1706.03825
    """

    def mean(draws: Iterator[Tensor]) -> Tensor:
        total = next(draws).clone()
        for grad in draws:
            total += grad
        return total / samples

    return noise_map(subject, task, "SmoothGrad", mean, at=at, metric=metric, noise=noise, samples=samples, seed=seed)

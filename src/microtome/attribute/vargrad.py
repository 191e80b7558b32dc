"""VarGrad."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.noise import noise_map
from microtome.errors import UsageError
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper(
        "Adebayo, Gilmer, Goodfellow, Kim", 2018,
        "Local Explanation Methods for Deep Neural Networks Lack Sensitivity to Parameter Values",
        'https://arxiv.org/abs/1810.03307',
    ),
    needs=("subject", "task", "gradients"),
    gives="Attribution",
    stochastic=True,
    cost="`samples` forwards and backwards",
    claim="The variance of the gradient over noisy copies shows where the network bends.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="A direction: variances have no sign, and inputs with a constant slope get 0 however much they matter.",
    tiny={"samples": 8},
)  # fmt: skip
def vargrad(
    subject: Any,
    task: Any,
    *,
    at: str | None = None,
    noise: float = 0.15,
    samples: int = 32,
    metric: str | None = None,
    seed: int = 0,
) -> Attribution:
    """Take the variance of the gradient over noisy copies of the input.

    ``A = Var[dm/dx (x + e)]``, e Gaussian; the unbiased estimate.

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
        Not negative. No residual: variances add up to nothing.

    Raises
    ------
    UsageError, SiteError, NonFinite

    Notes
    -----
    Null: a random network bends as well.
    Misleads when it is read as importance: a linear model has variance 0 everywhere.

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
    >>> [round(v, 3) for v in vargrad(Subject(net), task, noise=0.0, samples=2).values[0].tolist()]
    [0.0, 0.0]

    References
    ----------
    Adebayo, Gilmer, Goodfellow, Kim (2018). Local Explanation Methods for Deep Neural Networks Lack Sensitivity to
    Parameter Values.
    https://arxiv.org/abs/1810.03307
    """
    if samples < 2:
        raise UsageError(f"a variance needs samples >= 2, got {samples!r}.")

    def variance(draws: Iterator[Tensor]) -> Tensor:
        mean = next(draws).clone()
        spread = torch.zeros_like(mean)
        for k, grad in enumerate(draws, 2):  # Welford: stable, and no copy is kept
            step = grad - mean
            mean += step / k
            spread += step * (grad - mean)
        return spread / (samples - 1)

    return noise_map(subject, task, "VarGrad", variance, at=at, metric=metric, noise=noise, samples=samples, seed=seed)

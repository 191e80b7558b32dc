"""LIME."""

from typing import Any

import torch
from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.ends import counted
from microtome.attribute.imputers import Imputer
from microtome.attribute.masks import game, weighted_least_squares
from microtome.attribute.place import Baseline
from microtome.attribute.samplers import coin_flips
from microtome.errors import UsageError
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper("Ribeiro, Singh, Guestrin", 2016, "'Why Should I Trust You?' Explaining the Predictions of Any Classifier", "https://arxiv.org/abs/1602.04938"),
    needs=("subject", "task"),
    gives="Attribution",
    stochastic=True,
    cost="`samples` forwards, stacked on the batch",
    claim="A weighted linear model of the network around an input is locally faithful.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="More than a linear trend under coin-flip removal; another kernel width gives another trend.",
    tiny={'samples': 256},
)  # fmt: skip
def lime(
    subject: Any,
    task: Any,
    *,
    at: str | None = None,
    baseline: Baseline | Imputer = "zero",
    features: int | Tensor = 1,
    samples: int = 1024,
    width: float = 0.25,
    ridge: float = 1e-3,
    metric: str | None = None,
    seed: int = 0,
) -> Attribution:
    """Coefficients of a weighted linear model on random coalitions.

    ``min_b sum_k pi(z_k) (v_k - b_0 - z_k b)^2 + ridge |b|^2``, z coin flips, pi(z) = exp(-(1 - sqrt(share kept))^2 / width^2).

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
    samples : int, default 1024
        Coalitions (the paper: 5000 for text, 1000 for images).
    width : float, default 0.25
        Of the kernel, in cosine distance from the input.
    ridge : float, default 1e-3
        (The package: 1.)
    metric : str, optional
        Default: the task's.
    seed : int, default 0

    Returns
    -------
    Attribution
        No residual: the intercept takes the rest.

    Raises
    ------
    UsageError, SiteError, ShapeError, Degenerate, NonFinite

    Notes
    -----
    Null: in a random network the fit is as good; compare with `subject.twin()`.
    Misleads when the network is far from linear in the masks; and between runs with few samples.

    Examples
    --------
    >>> import torch
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> layer = torch.nn.Linear(3, 2, bias=False)
    >>> layer.weight.data = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    >>> x = torch.tensor([[1.0, 1.0, 2.0]])
    >>> task = Task("first class", x, -x, torch.tensor([0]), torch.tensor([1]), kind="image")
    >>> lime(Subject(torch.nn.Sequential(layer)), task, ridge=0.0).values.round(decimals=4).tolist()
    [[1.0, 2.0, -2.0]]

    References
    ----------
    Ribeiro, Singh, Guestrin (2016). 'Why Should I Trust You?' Explaining the Predictions of Any Classifier.
    https://arxiv.org/abs/1602.04938
    """
    counted("samples", samples, 2)
    if not width > 0 or not ridge >= 0:
        raise UsageError(f"width must be above 0 and ridge at least 0, got {width!r} and {ridge!r}.")
    g = game(subject, task, at=at, baseline=baseline, features=features, metric=metric, seed=seed)
    masks = torch.cat([torch.ones(1, g.players, dtype=torch.bool), coin_flips(g.players, samples - 1, seed)])
    near = torch.exp(-((1 - masks.double().mean(1).sqrt()) ** 2) / width**2)
    values, z = g.worth(masks), masks.double()
    near = near / near.sum()
    phi = weighted_least_squares(z - near @ z, values - near @ values, near, ridge=ridge)
    return g.attribution(
        phi, "LIME", samples + 2,
        {"samples": samples, "width": width, "ridge": ridge, "seed": seed},
    )  # fmt: skip

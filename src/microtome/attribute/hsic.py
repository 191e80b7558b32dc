"""HSIC attributions."""

from typing import Any

import torch
from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.ends import counted
from microtome.attribute.imputers import Imputer
from microtome.attribute.masks import game
from microtome.attribute.place import Baseline
from microtome.attribute.samplers import coin_flips
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper("Novello, Fel, Vigouroux", 2022,
                "Making Sense of Dependence: Efficient Black-box Explanations Using Dependence Measure",
                "https://arxiv.org/abs/2206.06219"),
    needs=("subject", "task"),
    gives="Attribution",
    stochastic=True,
    cost="`samples` forwards, stacked on the batch",
    claim="The dependence between presence of a place and the output, in a kernel space, finds what matters.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="A direction: dependence is not negative.",
    tiny={'samples': 256},
)  # fmt: skip
def hsic(
    subject: Any,
    task: Any,
    *,
    at: str | None = None,
    baseline: Baseline | Imputer = "zero",
    features: int | Tensor = 1,
    samples: int = 512,
    metric: str | None = None,
    seed: int = 0,
) -> Attribution:
    """Dependence between the presence of each player and the output.

    ``HSIC_j = trace(K_j H L H) / (samples - 1)^2``, K_j = 1[z_j = z_j'], L a Gaussian kernel of the outputs with the median
    distance as width, H the centring.

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
    samples : int, default 512
        Coin-flip masks (the paper: 1536).
    metric : str, optional
        Default: the task's.
    seed : int, default 0

    Returns
    -------
    Attribution
        At least 0.

    Raises
    ------
    UsageError, SiteError, ShapeError, Degenerate, NonFinite

    Notes
    -----
    Null: about 1 / samples for every player that does not matter; compare with `subject.twin()`.
    Misleads when outputs are nearly constant: the median distance follows them down.

    Examples
    --------
    >>> import torch
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> layer = torch.nn.Linear(3, 2, bias=False)
    >>> layer.weight.data = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    >>> x = torch.tensor([[1.0, 1.0, 2.0]])
    >>> task = Task("first class", x, -x, torch.tensor([0]), torch.tensor([1]), kind="image")
    >>> found = hsic(Subject(torch.nn.Sequential(layer)), task, samples=256).values[0]
    >>> bool(found[0] < found[1])
    True

    References
    ----------
    Novello, Fel, Vigouroux (2022). Making Sense of Dependence: Efficient Black-box Explanations Using Dependence Measure.
    https://arxiv.org/abs/2206.06219
    """
    counted("samples", samples, 2)
    g = game(subject, task, at=at, baseline=baseline, features=features, metric=metric, seed=seed)
    masks = coin_flips(g.players, samples, seed)
    gap = g.worth(masks).T[:, :, None] - g.worth(masks).T[:, None]  # [n, samples, samples]
    width = gap.abs().flatten(1).median(dim=1).values.clamp(min=1e-30)[:, None, None]
    kernel = torch.exp(-0.5 * (gap / width) ** 2)
    kernel = kernel - kernel.mean(1, keepdim=True) - kernel.mean(2, keepdim=True) + kernel.mean((1, 2), keepdim=True)
    z = masks.double()  # rows of the centred kernel sum to 0, so both halves of K_j give the same
    scores = 2 * torch.einsum("kp,nkl,lp->np", z, kernel, z) / (samples - 1) ** 2
    return g.attribution(scores, "HSIC", samples + 2, {"samples": samples, "seed": seed})

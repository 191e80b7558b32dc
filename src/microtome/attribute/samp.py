"""SAMP: a path that is chosen on the way, so that few features carry the change of the output."""

from math import ceil
from typing import Any

import torch
from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.ends import ends
from microtome.attribute.masks import PLACES
from microtome.attribute.paths import walk
from microtome.attribute.place import Baseline
from microtome.errors import UsageError
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper("Zhang, Zheng, Zhou, Lu", 2024, "Path Choice Matters for Clear Attribution in Path Methods",
                "https://arxiv.org/abs/2401.10442"),
    needs=("subject", "task", "gradients"),
    gives="Attribution",
    stochastic=False,
    cost="up to 1 / `bound` + 1 / `share` forwards and backwards of two points, one after the other",
    claim="Attributions along the path are more concentrated than along the straight line, and small steps keep them complete.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="Linearity or symmetry: the path depends on the network, so two equal features may get different shares.",
    tiny={"bound": 0.1},
)  # fmt: skip
def samp(
    subject: Any,
    task: Any,
    *,
    at: str | None = None,
    baseline: Baseline = "zero",
    share: float = 0.06,
    bound: float | None = 0.02,
    momentum: float = 0.5,
    metric: str | None = None,
) -> Attribution:
    """Integrate the gradient along the path on which the most salient places go first, from both ends.

    At the point x_k, with the other end e, ``d = e - x_k``, ``m_k = momentum m_{k-1} + (1 - momentum) grad f(x_k)``: the
    `share` of places with the largest fall of f (deleting) or rise of f (inserting) by ``d . m_k`` make the step dx towards e,
    cut to ``|dx|_1 <= bound |x - x'|_1``. ``A = sum_k grad f(x_k) * dx``, averaged over both directions.

    Parameters
    ----------
    subject : Subject
    task : Task
    at : str, optional
        Site; default the embeddings, or the input of the first layer. Places are positions or pixels, else units.
    baseline : str, number or Tensor
        "zero" (default), "mean", "corrupt" (the task's counterfactual), a number, or values.
    share : float, default 0.06
        Of the places, that move in one step.
    bound : float or None, default 0.02
        Longest step in parts of the whole way (the infinitesimal constraint); None: none, where steps are as long as their
        places, and sums miss what the gradient does not see.
    momentum : float, default 0.5
        Of the gradients by which places are chosen; 0: none. With neither this is the paper's SAMP, with both SAMP++.
    metric : str, optional
        Default: the task's.

    Returns
    -------
    Attribution
        ``residual`` falls with `bound`. Compare it with the sum of absolute values: the path overshoots the difference.

    Raises
    ------
    UsageError, SiteError, ShapeError, NonFinite

    Notes
    -----
    Null: concentrated on any network, since the path is chosen to be; compare with `subject.twin()`.
    Misleads when concentration is taken for truth: a part of the object that comes first takes the share of all others.

    Examples
    --------
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> layer = torch.nn.Linear(3, 2, bias=False)
    >>> layer.weight.data = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    >>> x = torch.tensor([[1.0, 1.0, 2.0]])
    >>> task = Task("first class", x, -x, torch.tensor([0]), torch.tensor([1]), kind="image")
    >>> samp(Subject(torch.nn.Sequential(layer)), task).values.round(decimals=3).tolist()
    [[1.0, 2.0, -2.0]]

    References
    ----------
    Zhang, Zheng, Zhou, Lu (2024). Path Choice Matters for Clear Attribution in Path Methods. https://arxiv.org/abs/2401.10442
    """
    if not 0 < share <= 1:
        raise UsageError(f"share must lie in (0, 1], got {share!r}.")
    if bound is not None and not 0 < bound <= 1:
        raise UsageError(f"bound must lie in (0, 1] or be None, got {bound!r}.")
    if not 0 <= momentum < 1:
        raise UsageError(f"momentum must lie in [0, 1), got {momentum!r}.")
    e = ends(subject, task, at=at, baseline=baseline, metric=metric)
    axes = subject.site(e.site).axes_of(e.end)
    rest = [i for i, a in enumerate(axes) if i and a not in PLACES] if any(a in PLACES for a in axes) else []
    x, goal = torch.stack([e.end, e.start]), torch.stack([e.start, e.end])  # deleting, inserting
    toward = torch.tensor([-1.0, 1.0]).to(x).reshape(2, *[1] * e.end.ndim)
    way = (e.end - e.start).flatten(1).abs().sum(1)
    longest = torch.full_like(way, torch.inf) if bound is None else bound * way
    mean, total = torch.zeros_like(x), torch.zeros_like(x)
    count = 0
    for _ in range(ceil(1 / (bound or 1)) + ceil(1 / share) + 2):
        d = goal - x
        if not bool(d.any()):
            break
        grad = torch.cat([c.grads[e.site] for c in walk(subject, e.bound, [{e.site: x[0]}, {e.site: x[1]}], [e.site])])
        count += 1
        mean = momentum * mean + (1 - momentum) * grad
        chosen = _chosen(toward * d * mean, d, rest, share)
        step = torch.where(chosen, d, 0.0)
        length = step.flatten(2).abs().sum(2)
        cut = (longest / length.clamp(min=1e-30)).clamp(max=1.0).reshape(2, -1, *[1] * (x.ndim - 2))
        total += toward * grad * cut * step
        x = torch.where(chosen & (cut == 1), goal, x + cut * step)
    return e.attribution(total.mean(0), "SAMP", 4 * count + 2, reference=e.reference,
                         settings={"share": share, "bound": bound, "momentum": momentum})  # fmt: skip


def _chosen(gain: Tensor, d: Tensor, rest: list[int], share: float) -> Tensor:
    """Cells of the places with the largest gain [2, n, ...] among those that are not at their end yet."""
    axes = [1 + i for i in rest]
    left = d.ne(0)
    if axes:
        gain, left = gain.sum(dim=axes, keepdim=True), left.any(dim=axes[0], keepdim=True)
        for axis in axes[1:]:
            left = left.any(dim=axis, keepdim=True)
    flat = gain.masked_fill(~left, -torch.inf).flatten(2)
    k = max(1, round(share * flat.shape[2]))
    best = torch.zeros_like(flat, dtype=torch.bool).scatter_(2, flat.topk(k, dim=2).indices, True)
    return (best.view(gain.shape) & left).expand_as(d)

"""Integrated gradients."""

from typing import Any

from microtome.attribute.attribution import Attribution
from microtome.attribute.ends import counted, ends
from microtome.attribute.paths import line, path_sums
from microtome.attribute.place import Baseline
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper("Sundararajan, Taly, Yan", 2017, "Axiomatic Attribution for Deep Networks", "https://arxiv.org/abs/1703.01365"),
    needs=("subject", "task", "gradients"),
    gives="Attribution",
    stochastic=False,
    cost="`steps` forwards and backwards, in chunks of bounded memory",
    claim="Attributions add up to the difference from the baseline and satisfy sensitivity, dummy, linearity, symmetry and "
    "implementation invariance.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="That the baseline means 'absent' to the network; another baseline gives other attributions.",
    tiny={"steps": 16},
)  # fmt: skip
def integrated_gradients(
    subject: Any,
    task: Any,
    *,
    at: str | None = None,
    baseline: Baseline = "zero",
    steps: int = 32,
    metric: str | None = None,
) -> Attribution:
    """Integrate the gradient along the straight line from a baseline to the input.

    ``IG_i = (x_i - x'_i) * int_0^1 dm/dx_i (x' + a (x - x')) da``, by Gauss-Legendre quadrature with `steps` nodes.

    Parameters
    ----------
    subject : Subject
    task : Task
    at : str, optional
        Site; default the embeddings (token ids cannot be interpolated), or the input of the first layer.
    baseline : str, number or Tensor
        "zero" (default), "mean", "corrupt" (the task's counterfactual), a number, or values.
    steps : int, default 32
        Nodes; the paper's 20 to 300 Riemann steps need far more for the same error. Exact to rounding where the gradient is
        smooth along the line; each ReLU that switches on it costs O(1 / steps), so look at ``residual``.
    metric : str, optional
        Default: the task's. Attribute logits or log-probabilities, not saturated probabilities.

    Returns
    -------
    Attribution
        With ``residual``: what completeness is missed by.

    Raises
    ------
    UsageError, SiteError, ShapeError, NonFinite

    Notes
    -----
    Null: complete on any network, trained or not: completeness is no evidence. Compare with `subject.twin()` and test by
    deletion (`deletion_test`).
    Misleads when the baseline is itself informative, or far from the data: embeddings of zero stand where layer norm
    divides by almost nothing, and the line from there passes steep gradients that trained networks never see.

    Examples
    --------
    >>> import torch
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> layer = torch.nn.Linear(3, 2, bias=False)
    >>> layer.weight.data = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    >>> x = torch.tensor([[1.0, 1.0, 2.0]])
    >>> task = Task("first class", x, -x, torch.tensor([0]), torch.tensor([1]), kind="image")
    >>> a = integrated_gradients(Subject(torch.nn.Sequential(layer)), task, baseline="corrupt")
    >>> a.values.round(decimals=3).tolist(), round(float(a.residual), 3)
    ([[2.0, 4.0, -4.0]], 0.0)

    References
    ----------
    Sundararajan, Taly, Yan (2017). Axiomatic Attribution for Deep Networks. https://arxiv.org/abs/1703.01365
    """
    counted("steps", steps)
    e = ends(subject, task, at=at, baseline=baseline, metric=metric)
    points = (({e.site: point}, weight) for point, weight in line(e.start, e.end, steps))
    total, count = path_sums(subject, e.bound, points, [e.site])
    value = (e.end - e.start) * total[e.site]
    return e.attribution(value, "integrated gradients", 2 * count + 2, reference=e.reference,
                         settings={"steps": steps})  # fmt: skip

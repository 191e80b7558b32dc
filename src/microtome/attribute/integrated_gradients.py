"""Integrated gradients."""

from typing import Any

from microtome.attribute.attribution import Attribution
from microtome.attribute.paths import gauss_legendre, path_gradients
from microtome.attribute.place import Baseline, baseline_at, input_site, position_mask, token_texts
from microtome.errors import UsageError
from microtome.method import Paper, method
from microtome.subject.edit import patch


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
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise UsageError(f"steps must be an int >= 1, got {steps!r}.")
    bound = subject.bind(task, metric=metric)
    name = subject.site(at or input_site(subject)).name
    rows = "all" if bound.metric.positions is None else bound.metric.positions
    run = subject.run(bound.inputs, record=[name], logits=rows)
    x = run[name]
    start = baseline_at(subject, bound, name, x, baseline)
    nodes, weights = gauss_legendre(steps)
    points = ((start + float(a) * (x - start), float(w)) for a, w in zip(nodes, weights))
    total, count = path_gradients(subject, bound, name, points, steps)
    value = ((x - start) * total).cpu()
    base = subject.run(bound.inputs, edits=[patch(name, start)], logits=rows)
    output, reference = (bound.metric(bound.metric.read(r.logits)).cpu() for r in (run, base))
    return Attribution(
        value, subject.site(name).axes_of(value), name, "integrated gradients", output, reference, 2 * count + 2,
        position_mask(subject, bound.inputs, name, value), token_texts(subject, bound.inputs), subject.fingerprint(),
        task.fingerprint(), {"metric": bound.metric.name, "steps": steps,
                             "baseline": baseline if isinstance(baseline, (str, int, float)) else "given"},
    )  # fmt: skip

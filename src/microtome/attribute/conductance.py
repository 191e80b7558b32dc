"""Conductance: what of the difference from a baseline flows through each unit of a layer."""

from typing import Any

from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.ends import counted, ends
from microtome.attribute.paths import gauss_legendre, walk
from microtome.attribute.place import Baseline
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper("Dhamdhere, Sundararajan, Yan", 2018, "How Important Is a Neuron?", "https://arxiv.org/abs/1805.12233"),
    needs=("subject", "task", "gradients"),
    gives="Attribution",
    stochastic=False,
    cost="`steps` + 2 forwards and backwards, in chunks of bounded memory",
    claim="Neurons with high conductance carry the ranking: pruning them hurts more than pruning random ones.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="That one neuron matters alone: shares of neurons that act together are split along one path.",
    tiny={"steps": 16},
)  # fmt: skip
def conductance(
    subject: Any,
    task: Any,
    *,
    at: str | None = None,
    baseline: Baseline = "zero",
    steps: int = 50,
    metric: str | None = None,
) -> Attribution:
    """Integrate each unit's gradient over its own way while the input goes from a baseline to its value.

    ``C_y = int_0^1 dm/dy(g(a)) dy(g(a))/da da``, g the straight line of the input, by the trapezoidal rule in y:
    ``sum_k (dm/dy_k + dm/dy_{k+1}) / 2 * (y_{k+1} - y_k)`` over both ends and `steps` Gauss-Legendre nodes. Also known as
    neuron integrated gradients.

    Parameters
    ----------
    subject : Subject
    task : Task
    at : str, optional
        Site whose units are asked; default the input, where conductance is integrated gradients.
    baseline : str, number or Tensor
        Of the input: "zero" (default), "mean", "corrupt" (the task's counterfactual; for rankers the paper's sequence of PAD
        tokens, which keeps the mask of the real one), a number, or values.
    steps : int, default 50
        Nodes (the paper's 50).
    metric : str, optional
        Default: the task's.

    Returns
    -------
    Attribution
        ``residual`` is that of completeness: about 0 where the site is a cut of the network (a residual stream), not where
        other ways lead past it (one MLP).

    Raises
    ------
    UsageError, SiteError, ShapeError, NonFinite

    Notes
    -----
    Null: complete on any cut of any network; rank the units of `subject.twin()` too and compare what their removal costs.
    Misleads when the path leaves what the network knows, and when units are ranked over one kind of example only: units
    that are high for relevant and for other pairs serve neither.

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
    >>> [round(v, 3) for v in conductance(Subject(net), task, at="1").values[0].tolist()]
    [0.0, 2.0]

    References
    ----------
    Dhamdhere, Sundararajan, Yan (2018). How Important Is a Neuron? https://arxiv.org/abs/1805.12233
    Vast, Van Cooten, Soulier, Piwowarski (2024). Which Neurons Matter in IR? Applying Integrated Gradients-based Methods to
    Understand Cross-Encoders. ICTIR.
    """
    counted("steps", steps)
    e = ends(subject, task, at=None, baseline=baseline, metric=metric)
    name = subject.site(at or e.site).name
    nodes = [0.0, *gauss_legendre(steps)[0].tolist(), 1.0]
    total: Tensor | None = None
    last: tuple[Tensor, Tensor] | None = None
    for chunk in walk(subject, e.bound, ({e.site: e.start + a * (e.end - e.start)} for a in nodes), [name]):
        for grad, value in zip(chunk.grads[name], chunk.values[name]):
            if last is not None:
                part = (grad + last[0]) / 2 * (value - last[1])
                total = part if total is None else total + part
            last = grad, value
    assert total is not None
    return e.attribution(total, "conductance", 2 * len(nodes) + 2, site=name, reference=e.reference,
                         settings={"steps": steps})  # fmt: skip

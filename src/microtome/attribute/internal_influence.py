"""Internal influence: the mean gradient at a layer while the input goes from a baseline to its value."""

from typing import Any

from microtome.attribute.attribution import Attribution
from microtome.attribute.ends import counted, ends
from microtome.attribute.paths import line, path_sums
from microtome.attribute.place import Baseline
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper("Leino, Sen, Datta, Fredrikson, Li", 2018, "Influence-Directed Explanations for Deep Convolutional Networks",
                "https://arxiv.org/abs/1802.03788"),
    needs=("subject", "task", "gradients"),
    gives="Attribution",
    stochastic=False,
    cost="`steps` forwards and backwards, in chunks of bounded memory",
    claim="Units with high influence on a class carry it: the few of largest influence decide it.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="A share of the output: it is a slope; multiply by what the unit changes (`conductance`) for shares.",
    tiny={"steps": 16},
)  # fmt: skip
def internal_influence(
    subject: Any,
    task: Any,
    *,
    at: str | None = None,
    baseline: Baseline = "zero",
    steps: int = 32,
    metric: str | None = None,
) -> Attribution:
    """Average the gradient at a layer over the straight line of the input.

    ``A_y = int_0^1 dm/dy (g(a)) da``, ``g(a) = x' + a (x - x')``, by Gauss-Legendre quadrature: the paper's influence for the
    uniform distribution on the line.

    Parameters
    ----------
    subject : Subject
    task : Task
    at : str, optional
        Site whose units are asked; default the input.
    baseline : str, number or Tensor
        Of the input: "zero" (default), "mean", "corrupt", a number, or values.
    steps : int, default 32
        Nodes.
    metric : str, optional
        Default: the task's.

    Returns
    -------
    Attribution
        No residual: slopes add up to nothing.

    Raises
    ------
    UsageError, SiteError, ShapeError, NonFinite

    Notes
    -----
    Null: units of a random network have influence as well; compare with `subject.twin()`.
    Misleads when units are compared whose values differ in scale.

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
    >>> [round(v, 3) for v in internal_influence(Subject(net), task, at="1").values[0].tolist()]
    [0.0, 2.0]

    References
    ----------
    Leino, Sen, Datta, Fredrikson, Li (2018). Influence-Directed Explanations for Deep Convolutional Networks.
    https://arxiv.org/abs/1802.03788
    """
    counted("steps", steps)
    e = ends(subject, task, at=None, baseline=baseline, metric=metric)
    name = subject.site(at or e.site).name
    points = (({e.site: point}, weight) for point, weight in line(e.start, e.end, steps))
    total, count = path_sums(subject, e.bound, points, [name])
    return e.attribution(total[name], "internal influence", 2 * count + 2, site=name, settings={"steps": steps})

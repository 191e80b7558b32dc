"""Grad-CAM and the maps that differ by the weights of the channels."""

from typing import Any

from microtome.attribute.attribution import Attribution
from microtome.attribute.cam import FORMULAS, Formula, as_attribution, two_tensors, weighted_map
from microtome.errors import UsageError, nearest
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper(
        "Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra", 2017,
        "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
        'https://arxiv.org/abs/1610.02391',
    ),
    needs=("subject", "task", "gradients"),
    gives="Attribution",
    stochastic=False,
    cost="one forward, one backward above the site",
    claim="Channels weighted by their mean gradient show where the evidence for a class is.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="Fine detail: the map has the grid of the site, and upsampling makes it look sharper than it is.",
)  # fmt: skip
def grad_cam(
    subject: Any,
    task: Any,
    *,
    at: str | None = None,
    formula: str | Formula = "grad",
    metric: str | None = None,
) -> Attribution:
    """Weight the channels of a site by the gradient of the metric and add them up over each place.

    ``L = sum_k alpha_k A_k``, ``alpha_k = mean over places of dm/dA_k``. The paper's ReLU and upsampling are the view
    ``heatmap``; the counterfactual map (what lowers the metric) is the negative part.

    Parameters
    ----------
    subject : Subject
    task : Task
    at : str, optional
        Site with channels and places; default the last convolution's activation, or what enters the last block.
    formula : str or callable, default grad
        "grad"; "plus_plus" (Grad-CAM++), "xgrad", "hires", "layer"; or ``f(A, G) -> weights`` of channels [n, channels] or of
        cells, with A and G [n, channels, *places].
    metric : str, optional
        Default: the task's.

    Returns
    -------
    Attribution
        Axes (batch, y, x) or (batch, position). ``settings["nowhere_positive"]`` lists examples whose map is
        negative everywhere.

    Raises
    ------
    UsageError, SiteError, NonFinite

    Notes
    -----
    Null: a random network gives a map of its activations; it should differ when weights are redrawn. Compare with
    `subject.twin()`.
    Misleads when channels have gradients of both signs in different places: their mean cancels (``hires`` does not).

    Examples
    --------
    >>> import torch
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> conv = torch.nn.Conv2d(1, 2, 1, bias=False)
    >>> conv.weight.data = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
    >>> net = torch.nn.Sequential(conv, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> x = torch.arange(4.0).reshape(1, 1, 2, 2)
    >>> task = Task("bright", x, -x, torch.tensor([0]), torch.tensor([1]), kind="image")
    >>> grad_cam(Subject(net), task).values.tolist()
    [[[0.0, 0.5], [1.0, 1.5]]]

    References
    ----------
    Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra (2017). Grad-CAM: Visual Explanations from Deep Networks via
    Gradient-based Localization.
    https://arxiv.org/abs/1610.02391
    """
    weigh = FORMULAS.get(formula) if isinstance(formula, str) else formula
    if weigh is None:
        raise UsageError(f"no formula {formula!r}; known: {sorted(FORMULAS)}.{nearest(str(formula), FORMULAS)}")
    bound = subject.bind(task, metric=metric)
    name, layout, a, g, output = two_tensors(subject, bound, at)
    called = "Grad-CAM" if formula == "grad" else f"CAM ({formula if isinstance(formula, str) else 'own formula'})"
    return as_attribution(subject, task, bound, name, layout, weighted_map(weigh(a, g), a), output, called, 2)

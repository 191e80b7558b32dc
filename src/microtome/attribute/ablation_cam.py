"""Ablation-CAM."""

from typing import Any

from microtome.attribute.attribution import Attribution
from microtome.attribute.cam import as_attribution, two_tensors, weighted_map
from microtome.method import Paper, method
from microtome.subject.edit import patch


@method(
    question="attribute",
    paper=Paper(
        "Desai, Ramaswamy", 2020,
        "Ablation-CAM: Visual Explanations for Deep Convolutional Network via Gradient-free Localization",
        'https://doi.org/10.1109/WACV45572.2020.9093360',
    ),
    needs=("subject", "task", "gradients"),
    gives="Attribution",
    stochastic=False,
    cost="one replay of the layers above per channel, stacked on the batch",
    claim="Weights from the drop when a channel is removed localise without gradients.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="Joint effects: channels that stand in for each other show no drop.",
    tiny={"at": "embed"},
)  # fmt: skip
def ablation_cam(subject: Any, task: Any, *, at: str | None = None, metric: str | None = None) -> Attribution:
    """Weight each channel by the relative drop of the metric when it is set to 0.

    ``alpha_k = (m(x) - m(x with A_k = 0)) / |m(x)|``.

    Parameters
    ----------
    subject : Subject
    task : Task
    at : str, optional
        Site with channels and places; default the last convolution's activation, or what enters the last block.
    metric : str, optional
        Default: the task's.

    Returns
    -------
    Attribution
        Axes (batch, y, x) or (batch, position).

    Raises
    ------
    UsageError, SiteError, NonFinite

    Notes
    -----
    Null: removing channels of a random network changes its output as well.
    Misleads when the metric is near 0, by which the drop is divided.

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
    >>> ablation_cam(Subject(net), task).values.tolist()
    [[[0.0, 0.0], [0.0, 0.0]]]

    References
    ----------
    Desai, Ramaswamy (2020). Ablation-CAM: Visual Explanations for Deep Convolutional Network via Gradient-free
    Localization.
    https://doi.org/10.1109/WACV45572.2020.9093360
    """
    bound = subject.bind(task, metric=metric)
    name, layout, a, _, output = two_tensors(subject, bound, at)
    whole = layout.join(a, subject.run(bound.inputs, record=[name], logits="none")[name])
    edits = []
    for k in range(a.shape[1]):
        without = a.clone()
        without[:, k] = 0.0
        edits.append(patch(name, layout.join(without, whole)))
    swept = subject.sweep(bound.inputs, edits, bound.metric)
    weights = ((swept.base - swept.values) / swept.base.abs().clamp(min=1e-12)).T.to(a)
    return as_attribution(subject, task, bound, name, layout, weighted_map(weights, a), output, "Ablation-CAM", a.shape[1] + 1)

"""Eigen-CAM."""

from typing import Any

from microtome.attribute.attribution import Attribution
from microtome.attribute.cam import as_attribution, principal_map, two_tensors
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper(
        "Muhammad, Yeasin", 2020,
        "Eigen-CAM: Class Activation Map using Principal Components",
        'https://arxiv.org/abs/2008.00299',
    ),
    needs=("subject", "task", "gradients"),
    gives="Attribution",
    stochastic=False,
    cost="one forward",
    claim="The leading direction of a layer's activations over places shows the object.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="Which class: the metric is not looked at.",
    tiny={"at": "embed"},
    skips=dict.fromkeys(("truth", "null"), "the map does not look at the metric, so it cannot find what the answer came from"),
)  # fmt: skip
def eigen_cam(subject: Any, task: Any, *, at: str | None = None, metric: str | None = None) -> Attribution:
    """Project the channels of each place on their leading direction over places.

    ``L = (A - mean) v1``, v1 the first right singular vector; signed so that the largest activation is positive.

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
    Null: random networks have a leading direction as well.
    Misleads when there are two objects, or the background varies most.

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
    >>> eigen_cam(Subject(net), task).values.double().round(decimals=3).tolist()
    [[[-2.121, -0.707], [0.707, 2.121]]]

    References
    ----------
    Muhammad, Yeasin (2020). Eigen-CAM: Class Activation Map using Principal Components.
    https://arxiv.org/abs/2008.00299
    """
    bound = subject.bind(task, metric=metric)
    name, layout, a, _, output = two_tensors(subject, bound, at)
    return as_attribution(subject, task, bound, name, layout, principal_map(a), output, "Eigen-CAM", 1)

"""Deconvnet."""

from typing import Any

from microtome.attribute.attribution import Attribution
from microtome.attribute.backward import backward
from microtome.attribute.rules import DECONV
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper(
        "Zeiler, Fergus", 2013,
        "Visualizing and Understanding Convolutional Networks",
        'https://arxiv.org/abs/1311.2901',
    ),
    needs=("subject", "task", "gradients"),
    gives="Attribution",
    stochastic=False,
    cost="one forward, one backward",
    claim="Backward signals rectified at each layer show the pattern that a unit answers to.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="Which class, and anything that units switched off by the input would say.",
)  # fmt: skip
def deconvnet(subject: Any, task: Any, *, at: str | None = None, metric: str | None = None) -> Attribution:
    """Send the output back through the transposed layers, rectifying the signal at every activation.

    ``g_in = max(g_out, 0)`` at every activation; the plain gradient elsewhere.

    Parameters
    ----------
    subject : Subject
    task : Task
    at : str, optional
        Site; default the embeddings, or the input of the first layer.
    metric : str, optional
        Default: the task's.

    Returns
    -------
    Attribution
        No residual: nothing is conserved.

    Raises
    ------
    UsageError, SiteError, NonFinite

    Notes
    -----
    Null: a random network gives pictures as well.
    Misleads when there is no max pool whose switches carry the input: the map then depends on the input very little.

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
    >>> [round(v, 3) for v in deconvnet(Subject(net), task).values[0].tolist()]
    [2.0, -2.0]

    References
    ----------
    Zeiler, Fergus (2013). Visualizing and Understanding Convolutional Networks.
    https://arxiv.org/abs/1311.2901
    """
    return backward(subject, task, DECONV, at=at, metric=metric, name="deconvnet", times=False)

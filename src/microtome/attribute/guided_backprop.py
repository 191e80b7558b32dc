"""Guided backpropagation."""

from typing import Any

from microtome.attribute.attribution import Attribution
from microtome.attribute.backward import backward
from microtome.attribute.rules import GUIDED
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper(
        "Springenberg, Dosovitskiy, Brox, Riedmiller", 2014,
        "Striving for Simplicity: The All Convolutional Net",
        'https://arxiv.org/abs/1412.6806',
    ),
    needs=("subject", "task", "gradients"),
    gives="Attribution",
    stochastic=False,
    cost="one forward, one backward",
    claim="Backward signals that pass only where they are positive give sharper pictures than the gradient.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="Which class: the map hardly depends on it, nor on the weights of the upper layers.",
)  # fmt: skip
def guided_backprop(subject: Any, task: Any, *, at: str | None = None, metric: str | None = None) -> Attribution:
    """Differentiate, letting the signal pass an activation only where it is positive.

    ``g_in = f'(z) max(g_out, 0)`` at every activation; the plain gradient elsewhere.

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
    Null: a random network gives maps of edges as well, and hardly other ones (Adebayo et al. 2018).
    Misleads when it is read as evidence for one class: compare the maps of two.

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
    >>> [round(v, 3) for v in guided_backprop(Subject(net), task).values[0].tolist()]
    [2.0, -2.0]

    References
    ----------
    Springenberg, Dosovitskiy, Brox, Riedmiller (2014). Striving for Simplicity: The All Convolutional Net.
    https://arxiv.org/abs/1412.6806
    """
    return backward(subject, task, GUIDED, at=at, metric=metric, name="guided backprop", times=False)

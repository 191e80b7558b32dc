"""Excitation pullbacks."""

from typing import Any

from microtome.attribute.attribution import Attribution
from microtome.attribute.backward import backward
from microtome.attribute.rules import pullback
from microtome.errors import UsageError
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper(
        "Satkiewicz", 2025,
        "Tapping into the Black Box: Uncovering Aligned Representations in Pretrained Neural Networks",
        'https://github.com/314-Foundation/ExcitationPullbacks',
    ),
    needs=("subject", "task", "gradients"),
    gives="Attribution",
    stochastic=False,
    cost="one forward, one backward",
    claim="The gradient with soft gates points along features of the class that the gradient itself does not show.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="Additive shares of the output: a pullback is the gradient of no function and completeness fails.",
)  # fmt: skip
def excitation_pullback(
    subject: Any,
    task: Any,
    *,
    at: str | None = None,
    temperature: float = 0.3,
    metric: str | None = None,
) -> Attribution:
    """Differentiate with soft gates in the backward pass; the forward stays exact.

    ``g_in = g_out sigmoid(z / T)`` at every ReLU; at every max pool the gradient of ``sum_w softmax(x_w / T) x_w``.

    Parameters
    ----------
    subject : Subject
    task : Task
    at : str, optional
        Site; default the embeddings, or the input of the first layer.
    temperature : float, default 0.3
        T of all gates (the paper's demonstration: 0.3). Towards 0 the gradient.
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
    Null: in a random network the pullback is no closer to the class than the gradient is.
    Misleads when the activations are not ReLUs: the paper defines it for ReLU networks only.

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
    >>> [round(v, 3) for v in excitation_pullback(Subject(net), task, temperature=1e-3).values[0].tolist()]
    [2.0, -2.0]

    References
    ----------
    Satkiewicz (2025). Tapping into the Black Box: Uncovering Aligned Representations in Pretrained Neural Networks.
    https://github.com/314-Foundation/ExcitationPullbacks
    """
    if not temperature > 0:
        raise UsageError(f"temperature must be above 0, got {temperature!r}.")
    return backward(subject, task, pullback(temperature), at=at, metric=metric, name="excitation pullback", times=False)

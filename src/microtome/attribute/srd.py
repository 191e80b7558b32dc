"""Sharing ratio decomposition."""

from typing import Any

from microtome.attribute.attribution import Attribution
from microtome.attribute.backward import backward
from microtome.attribute.rules import SHARING
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper(
        "Han, Yu, Choi, Lee", 2024,
        "Respect the model: Fine-grained and Robust Explanation with Sharing Ratio Decomposition",
        'https://arxiv.org/abs/2402.03348',
    ),
    needs=("subject", "task", "gradients"),
    gives="Attribution",
    stochastic=False,
    cost="one forward, one backward",
    claim="What each place adds to the vector at a later place, inactive channels included, shows where the evidence is.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="Which class the early layers speak of: ratios between places are the same for all classes.",
)  # fmt: skip
def srd(
    subject: Any,
    task: Any,
    *,
    at: str | None = None,
    metric: str | None = None,
) -> Attribution:
    """Share relevance between places by how much each adds to the vector of all channels at the place above.

    ``R_i = sum_j mu_ij R_j``, ``mu_ij = <u_ij, u_j> / <u_j, u_j>``, where ``u_j = sum_i u_ij`` is the vector at place j before
    its activation and ``u_ij = W_ij v_i`` with an equal share of the bias. Ratios at a place add up to 1. At the last
    convolution ``R_i = <v_i, d metric / d v_i>``. Computed without pairs of places, ``R = v VJP(u R_j / <u_j, u_j>)``.

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
        Only sums over channels (`by_position`) have a meaning: the place is the unit. ``lost`` says where relevance went.

    Raises
    ------
    UsageError, SiteError, NonFinite

    Notes
    -----
    Null: ratios add up to 1 in a random network as well. Compare with `subject.twin()`.
    Misleads when ratios are negative and large: where contributions cancel, relevance grows on the way down. Dense layers and
    means pass value times gradient, so that a network without convolutions gets just that. How the bias and the class enter
    is reconstructed from the paper's description.

    Examples
    --------
    >>> import torch
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> conv = torch.nn.Conv2d(1, 2, (1, 2), bias=False)
    >>> conv.weight.data = torch.tensor([[[[1.0, 1.0]]], [[[1.0, -1.0]]]])
    >>> head = torch.nn.Linear(2, 2, bias=False)
    >>> head.weight.data = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    >>> x = torch.tensor([[[[2.0, 1.0]]]])
    >>> task = Task("first", x, -x, torch.tensor([0]), torch.tensor([1]), kind="image")
    >>> found = srd(Subject(torch.nn.Sequential(conv, torch.nn.ReLU(), torch.nn.Flatten(), head)), task)
    >>> [round(v, 3) for v in found.values.flatten().tolist()]  # u = (3, 1): 8/10 and 2/10 of 4
    [3.2, 0.8]

    References
    ----------
    Han, Yu, Choi, Lee (2024). Respect the model: Fine-grained and Robust Explanation with Sharing Ratio Decomposition.
    https://arxiv.org/abs/2402.03348
    """
    return backward(subject, task, SHARING, at=at, metric=metric, name="srd")

"""Relevance of whole units (channels, neurons) over a set of examples, and the order in which to remove them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from microtome.attribute.rules import Composite, relevance
from microtome.errors import ShapeError, UsageError
from microtome.subject.edit import Edit


def unit_relevance(
    subject: Any,
    task: Any,
    sites: Sequence[str],
    *,
    composite: str | Composite = "epsilon_alpha1_beta0",
    metric: str | None = None,
    shares: bool = False,
    edits: Sequence[Edit] = (),
) -> dict[str, Tensor]:
    """Relevance that arrives at each unit of each site, summed over examples and places, in one backward pass.

    ``R_unit = sum over examples and places of R``. Relevance is conserved, so units of different layers can be compared
    without any normalisation by layer.

    Parameters
    ----------
    subject : Subject
    task : Task
        The reference examples; its metric is what relevance is of.
    sites : sequence of str
        Outputs of layers with axes (batch, channel, ...) or (batch, unit).
    composite : str or Composite, default epsilon_alpha1_beta0
        The paper's: alpha 1, beta 0 in convolutions, epsilon in dense layers. "z_plus" is what its code does: positive
        contributions in all layers, biases without a share, so that every layer has the same sum.
    metric : str, optional
        Default: the task's.
    shares : bool, default False
        Count every example the same: its relevance divided by the size of what was sent into it (the paper sends 1), so
        that examples with large logits do not decide alone.
    edits : sequence of Edit
        Applied in the same run, e.g. the removal of other units.

    Returns
    -------
    dict of str to Tensor[units]

    Raises
    ------
    UsageError, SiteError, ShapeError

    Notes
    -----
    Null: units of a random network receive relevance as well; remove as many random units beside.
    Misleads when the reference examples are few or of other classes than those that must survive.

    Examples
    --------
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.ReLU(), torch.nn.Linear(2, 2, bias=False))
    >>> for i in (0, 2):
    ...     net[i].weight.data = torch.eye(2)
    >>> x = torch.tensor([[2.0, 1.0]])
    >>> task = Task("first", x, -x, torch.tensor([0]), torch.tensor([1]), kind="image")
    >>> [round(v, 3) for v in unit_relevance(Subject(net), task, ["0"])["0"].tolist()]
    [2.0, -1.0]

    References
    ----------
    Yeom et al. (2021). Pruning by Explaining: A Novel Criterion for Deep Neural Network Pruning.
    https://arxiv.org/abs/1912.08881
    """
    if not sites:
        raise UsageError("unit_relevance needs at least one site.")
    bound = subject.bind(task, metric=metric)
    names = [subject.site(s).name for s in sites]
    found = relevance(subject, bound.inputs, names, bound.metric, composite, edits)
    weight = 1.0 / found.start.abs().clamp(min=1e-12).cpu() if shares else torch.ones(len(found.output), dtype=torch.float64)
    scores = {}
    for name in names:
        value = found.at(name).double().cpu()
        if value.ndim < 2:
            raise ShapeError(f"{name} is {list(value.shape)}: it has no units.")
        scores[name] = weight @ value.flatten(2).sum(2) if value.ndim > 2 else weight @ value
    return scores


def removal_order(scores: Mapping[str, Tensor], *, keep: int = 1) -> list[tuple[str, int]]:
    """(site, unit) from the lowest score to the highest over all sites, the best `keep` of each site left out.

    Examples
    --------
    >>> removal_order({"a": torch.tensor([3.0, 1.0]), "b": torch.tensor([2.0, 5.0])})
    [('a', 1), ('b', 0)]
    """
    if keep < 0:
        raise UsageError(f"keep must be at least 0, got {keep}.")
    rows = []
    for site, values in scores.items():
        kept = set(values.argsort(descending=True, stable=True)[:keep].tolist())
        rows += [(float(v), site, unit) for unit, v in enumerate(values) if unit not in kept]
    return [(site, unit) for _, site, unit in sorted(rows)]

"""Attribution-guided pruning: in each layer the units with the largest attributions stay."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from microtome.attribute.attribution import Attribution
from microtome.attribute.lrp import lrp
from microtome.attribute.pruning import Pruning
from microtome.errors import Degenerate, SiteError, UsageError
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper("Malik, Seth, Singh, Chitroda, Sankarapu", 2025, "Interpretability-Aware Pruning for Efficient Medical Image "
                "Analysis", "https://arxiv.org/abs/2507.08330"),
    needs=("subject", "task", "gradients"),
    gives="Pruning: Edits that silence units, and the module without them",
    stochastic=False,
    cost="one attribution per site",
    claim="Half of the units of every layer can go at little loss when those with the smallest attributions go.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="That what went was not used: units of small attribution can matter on examples that were not shown.",
    skips={"batch": "one order of the units, from all examples"},
)  # fmt: skip
def attribution_pruning(
    subject: Any,
    task: Any,
    *,
    sites: Sequence[str] | None = None,
    share: float = 0.5,
    by: Callable[..., Attribution] = lrp,
    keep: int = 1,
    metric: str | None = None,
) -> Pruning:
    """Score every unit by its attribution over a calibration set, and drop the lowest share of each layer.

    ``S_u = mean over examples of |sum over places of A_u|``; of each site the ``share`` with the smallest S goes.

    Parameters
    ----------
    subject : Subject
    task : Task
        The calibration set.
    sites : sequence of str, optional
        Where units are scored and silenced; default the output of every convolution and linear layer but the last. Where a
        batch norm follows, name its output, or that of the activation.
    share : float, default 0.5
        Of each site's units.
    by : callable, default `lrp`
        ``by(subject, task, at=site, metric=metric) -> Attribution``: `lrp`, `integrated_gradients`, `conductance`, or your own.
    keep : int, default 1
        Units of each site that stay whatever happens.
    metric : str, optional
        Default: the task's.

    Returns
    -------
    Pruning
        ``edits`` silence the units, ``module(subject)`` is a smaller module with the same outputs.

    Raises
    ------
    UsageError, SiteError, ShapeError, NonFinite
    Degenerate
        When every unit of a site has score 0.

    Notes
    -----
    Null: as many random units of each layer.
    Misleads when the loss is read off the calibration set: measure it on others.

    Examples
    --------
    >>> import torch
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.ReLU(), torch.nn.Linear(2, 2, bias=False))
    >>> net[0].weight.data, net[2].weight.data = torch.eye(2), torch.tensor([[3.0, 1.0], [0.0, 0.0]])
    >>> x = torch.ones(1, 2)
    >>> task = Task("first class", x, -x, torch.tensor([0]), torch.tensor([1]), kind="image")
    >>> found = attribution_pruning(Subject(net), task, sites=["1"])
    >>> found.units, found.module(Subject(net))
    ([('1', 1)], Sequential(
      (0): Linear(in_features=2, out_features=1, bias=False)
      (1): ReLU()
      (2): Linear(in_features=1, out_features=2, bias=False)
    ))

    References
    ----------
    Malik, Seth, Singh, Chitroda, Sankarapu (2025). Interpretability-Aware Pruning for Efficient Medical Image Analysis.
    https://arxiv.org/abs/2507.08330
    """
    if not 0 < share < 1:
        raise UsageError(f"share must be between 0 and 1, got {share!r}.")
    if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
        raise UsageError(f"keep must be an int >= 1, got {keep!r}.")
    chosen = [subject.site(s).name for s in (sites if sites is not None else _layers(subject))]
    if not chosen:
        raise UsageError(f"{subject.name} has no hidden layers to score; name sites.")
    scores, units, name = {}, [], ""
    for site in chosen:
        found = by(subject, task, at=site, metric=metric)
        scores[site], name = unit_scores(found), found.method
        if not bool(scores[site].any()):
            raise Degenerate(f"every unit of {site} has attribution 0: there is no order to remove them in.")
        count = min(round(share * len(scores[site])), len(scores[site]) - keep)
        units += [(site, int(u)) for u in scores[site].argsort(stable=True)[:count]]
    return Pruning(scores, units, name)


def unit_scores(found: Attribution) -> Tensor:
    """Mean over examples of the absolute attribution of each unit, summed over places."""
    axis = next((i for i, a in enumerate(found.axes) if a in ("channel", "unit")), None)
    if axis is None:
        raise SiteError(f"{found.site} has axes {found.axes}: no units to score.")
    value = found.values.double().movedim(axis, 1)
    return value.flatten(2).sum(2).abs().mean(0) if value.ndim > 2 else value.abs().mean(0)


def _layers(subject: Any) -> list[str]:
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return [name for name, part in subject.module.named_modules() if name and isinstance(part, kinds)][:-1]

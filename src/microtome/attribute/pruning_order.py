"""Which units to remove one after the other, scored anew after each step."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from microtome.attribute.rules import Composite
from microtome.attribute.unit_relevance import removal_order, unit_relevance
from microtome.errors import UsageError
from microtome.subject.edit import Edit, ablate

Units = list[tuple[str, int]]


def pruning_order(
    subject: Any,
    task: Any,
    sites: Sequence[str],
    *,
    share: float = 0.7,
    steps: int = 7,
    keep: int = 2,
    composite: str | Composite = "epsilon_alpha1_beta0",
    metric: str | None = None,
) -> list[Units]:
    """Remove the units that carry least relevance, in one ranking over all sites, and score what is left again.

    ``R_unit = sum over examples of (sum over places of R) / |R sent|``; the lowest ``share / steps`` of all units go in each
    step. Relevance is conserved, so a layer that has lost many units has more relevance in each of the others.

    Parameters
    ----------
    subject : Subject
    task : Task
        The reference examples; its metric is what relevance is of.
    sites : sequence of str
        Outputs of layers with axes (batch, channel, ...) or (batch, unit); of the batch norm where one follows.
    share : float, default 0.7
        Of all units, in the end.
    steps : int, default 7
        The paper removes a tenth or less per step.
    keep : int, default 2
        Units of each site that stay whatever happens.
    composite : str or Composite, default epsilon_alpha1_beta0
        As in `unit_relevance`.
    metric : str, optional
        Default: the task's.

    Returns
    -------
    list of list of (str, int)
        The units that go in each step.

    Raises
    ------
    UsageError, SiteError, ShapeError

    Notes
    -----
    Null: the same number of random units, and reference examples of other classes.
    Misleads when what sets classes apart is evidence against: the rules of the default follow evidence in favour only.

    Examples
    --------
    >>> import torch
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 3, bias=False), torch.nn.ReLU(), torch.nn.Linear(3, 2, bias=False))
    >>> net[0].weight.data, net[2].weight.data = torch.eye(3), torch.tensor([[3.0, 1.0, 2.0], [0.0, 0.0, 0.0]])
    >>> x = torch.ones(1, 3)
    >>> task = Task("first", x, -x, torch.tensor([0]), torch.tensor([1]), kind="image")
    >>> pruning_order(Subject(net), task, ["0"], share=0.67, steps=2, keep=1)
    [[('0', 1)], [('0', 2)]]

    References
    ----------
    Yeom et al. (2021). Pruning by Explaining: A Novel Criterion for Deep Neural Network Pruning.
    https://arxiv.org/abs/1912.08881
    """

    def score(gone: Units) -> dict[str, Tensor]:
        edits = removed(gone)
        return unit_relevance(subject, task, sites, composite=composite, metric=metric, shares=True, edits=edits)

    return removal_steps(score, share=share, steps=steps, keep=keep)


def removal_steps(
    score: Callable[[Units], Mapping[str, Tensor]], *, share: float = 0.7, steps: int = 7, keep: int = 2
) -> list[Units]:
    """The loop of `pruning_order` for any criterion: `score(units removed so far)` gives site -> score of each unit.

    Raises
    ------
    UsageError
        For a share outside (0, 1], fewer than one step, or more units to remove than `keep` allows.
    """
    if not 0 < share <= 1 or steps < 1:
        raise UsageError(f"share must lie in (0, 1] and steps be at least 1, got share={share}, steps={steps}.")
    gone: Units = []
    parts: list[Units] = []
    for step in range(1, steps + 1):
        scores = {site: value.clone() for site, value in score(gone).items()}
        for site, unit in gone:  # below all others, so that `keep` is counted among the units that are left
            scores[site][unit] = float("-inf")
        order = [unit for unit in removal_order(scores, keep=keep) if unit not in set(gone)]
        wanted = round(share * step / steps * sum(map(len, scores.values()))) - len(gone)
        if wanted > len(order):
            raise UsageError(f"step {step} would remove {wanted} units, but keep={keep} leaves {len(order)}; lower share.")
        parts.append(order[:wanted])
        gone = gone + parts[-1]
    return parts


def removed(units: Units) -> list[Edit]:
    """Edits that set units of sites to 0: the network without them."""
    sites = dict.fromkeys(site for site, _ in units)
    return [ablate(site, how="zero", unit=sorted(u for s, u in units if s == site)) for site in sites]

"""Neuron paths: one unit per layer that together carry an output, found layer by layer."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from microtome.attribute.ends import counted
from microtome.attribute.neuron_paths import NeuronPaths, cells
from microtome.attribute.paths import gauss_legendre, walk
from microtome.errors import SiteError, UsageError
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper("Wang, Liu, Shi, Li, Pang, Yang, Yu, Ren", 2025, "Discovering Influential Neuron Path in Vision Transformers",
                "https://arxiv.org/abs/2503.09046"),
    needs=("subject", "task", "gradients"),
    gives="NeuronPaths: a Circuit of one unit per layer for each example",
    stochastic=False,
    cost="`steps` forwards and backwards per site and once more, in chunks of bounded memory",
    claim="Switching off the units of a path lowers the output more than switching off random or the most active units.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="The best path: the search is greedy, and a layer's units are scored while the whole layer is scaled.",
    tiny={"steps": 8},
)  # fmt: skip
def neuron_path(
    subject: Any,
    task: Any,
    *,
    sites: Sequence[str] | None = None,
    position: int = 0,
    steps: int = 20,
    score: Literal["product", "sum"] = "product",
    metric: str = "probability",
) -> NeuronPaths:
    """Find, for each example, one unit per layer with the largest joint attribution score.

    With the values w_l of the chosen units scaled together, all others as they are,
    ``JAS = (sum_l w_l) * int_0^1 sum_l dm/dw_l (a w_1, ..., a w_L) da`` (score="product"), or
    ``sum_l w_l * int_0^1 dm/dw_l da = m(on) - m(off)`` (score="sum"). Layer after layer the unit is taken that makes the score
    largest beside those below; all units of a layer are scored by one walk, on which the whole layer is scaled.

    Parameters
    ----------
    subject : Subject
    task : Task
        The answers say whose output is asked (the paper: the predicted class).
    sites : sequence of str, optional
        From below to above; default the hidden units of all MLPs.
    position : int, default 0
        Token whose units are asked, at sites with positions (the paper: the class token, which stands first).
    steps : int, default 20
        Gauss-Legendre nodes (the paper: 20 equal steps).
    score : {"product", "sum"}
        What the search makes largest: the paper's, or the one that adds up.
    metric : str, default "probability"
        The paper's.

    Returns
    -------
    NeuronPaths
        Units [n, sites], their shares by the score that adds up, the joint score, the metric with the path on and off.

    Raises
    ------
    UsageError, SiteError, NonFinite

    Notes
    -----
    Null: the search finds a path in any network; compare with random paths and with `subject.twin()`.
    Misleads when a path is read as the way of the signal: units are chosen for what they add, not for being connected.

    Examples
    --------
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.ReLU(), torch.nn.Linear(2, 2, bias=False))
    >>> for i in (0, 2):
    ...     net[i].weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> x = torch.tensor([[2.0, 1.0]])
    >>> task = Task("first class", x, -x, torch.tensor([0]), torch.tensor([1]), kind="image")
    >>> neuron_path(Subject(net), task, sites=["1"], metric="logit_difference").units.tolist()
    [[0]]

    References
    ----------
    Wang, Liu, Shi, Li, Pang, Yang, Yu, Ren (2025). Discovering Influential Neuron Path in Vision Transformers.
    https://arxiv.org/abs/2503.09046
    """
    counted("steps", steps)
    if score not in ("product", "sum"):
        raise UsageError(f"score must be 'product' or 'sum', got {score!r}.")
    names = tuple(subject.site(s).name for s in sites or [s.name for s in subject.sites("blocks.*.mlp.hidden")])
    if not names:
        raise UsageError(f"{subject.name} has no blocks with MLPs: name the sites of the path with sites=.")
    bound = subject.bind(task, metric=metric)
    rows = "all" if bound.metric.positions is None else bound.metric.positions
    run = subject.run(bound.inputs, record=list(names), logits=rows)
    values = {s: run[s] for s in names}
    at = {s: _places(subject, s, values[s], position) for s in names}
    nodes, weights = gauss_legendre(steps)

    def mean_slopes(chosen: Sequence[Tensor | None]) -> list[Tensor]:
        """The integral of dm/dw [n, units] at each site, while the chosen units (None: all) are scaled."""
        used = names[: len(chosen)]
        where = {s: cells(values[s], at[s], unit) for s, unit in zip(used, chosen)}

        def points() -> Iterator[dict[str, Tensor]]:
            for a in nodes:
                yield {s: float(a) * values[s] for s in used}

        totals, done = [torch.zeros(1)] * len(used), 0
        for chunk in walk(subject, bound, points(), used, where=where):
            k = len(chunk.output)
            for i, s in enumerate(used):
                w = torch.as_tensor(weights[done : done + k]).to(values[s])
                totals[i] = totals[i].to(w) + torch.einsum("k,k...->...", w, chunk.grads[s])
            done += k
        return [at[s](t) for s, t in zip(used, totals)]

    units: list[Tensor] = []
    pick = lambda v, unit: v.gather(1, unit[:, None])[:, 0]  # noqa: E731
    for i, s in enumerate(names):
        slopes, w = mean_slopes([*units, None]), at[s](values[s])
        below = [(pick(at[names[j]](values[names[j]]), u), pick(slopes[j], u)) for j, u in enumerate(units)]
        zero = torch.zeros_like(w[:, 0])
        if score == "product":
            sums = [sum((part[k] for part in below), zero)[:, None] for k in (0, 1)]
            found = (sums[0] + w) * (sums[1] + slopes[i])
        else:
            found = sum((a * b for a, b in below), zero)[:, None] + w * slopes[i]
        units.append(found.argmax(1))
    w = torch.stack([pick(at[s](values[s]), u) for s, u in zip(names, units)], 1)
    slope = torch.stack([pick(v, u) for v, u in zip(mean_slopes(units), units)], 1)
    paths = NeuronPaths(
        names, torch.stack(units, 1).cpu(), position, (w * slope).cpu(), (w.sum(1) * slope.sum(1)).cpu(),
        bound.metric(bound.metric.read(run.logits)).cpu(), torch.zeros(len(w)), bound.metric.name,
    )  # fmt: skip
    return paths.like(paths.units, off=paths.scaled(subject, task, 0.0))


def _places(subject: Any, site: str, value: Tensor, position: int) -> Any:
    """[n, ..., units] -> [n, units] at the position, for sites that have one."""
    axes = subject.site(site).axes_of(value)
    if axes[-1] != "unit" or value.ndim not in (2, 3):
        raise SiteError(f"{site} has axes {axes}: a neuron path needs sites with units on the last axis.")
    if value.ndim == 2:
        return lambda v: v
    if not -value.shape[1] <= position < value.shape[1]:
        raise UsageError(f"position {position} is outside the {value.shape[1]} positions of {site}.")
    return lambda v: v[:, position]

"""Path interventions: which connections between filters of a convolutional network a class depends on."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from microtome.errors import SiteError, UsageError
from microtome.evidence import Finding, Null, Provenance, benjamini_hochberg, p_values, sign_flip_family
from microtome.method import Paper, method
from microtome.rng import derive
from microtome.subject.edit import Edit
from microtome.trace.drawn import estimated, resampled_means
from microtome.trace.effects import _group_means
from microtome.trace.measured import bound_pairs, measured


@method(
    question="trace",
    paper=Paper("Ahmad, Bereux, Baret, Hashemi, Lecue", 2023, "Causal Analysis for Robust Interpretability of Neural Networks",
                "https://arxiv.org/abs/2305.08950"),
    needs=("subject", "task", "images"),
    gives="Finding",
    stochastic=True,
    cost="one forward per connection, and as many for each randomised twin",
    claim="A few connections between filters carry a class: kept alone they preserve it, random ones do not.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="That a connection that was left out is idle: another may stand in for it when it is cut alone.",
    tiny={"twins": 12},
)  # fmt: skip
def path_intervention(
    subject: Any,
    task: Any,
    *,
    layers: Sequence[str] | None = None,
    metric: str = "log_odds",
    twins: int = 5,
    alpha: float = 0.05,
    seed: int = 0,
) -> Finding:
    """Cut each connection from a filter to a filter of the next layer, and keep those whose loss hurts.

    ``effect(i -> j) = E[m(x)] - E[m(x; do(w_ji = 0))]``: ``w_ji * x_i`` is taken from the pre-activation of j and nothing else
    changes. Kept: positive on these images beyond sign flips, and larger than the effects in twins with re-drawn weights
    (the larger of both p), at q <= alpha over all connections. From the last layer back, a connection into a filter that
    feeds no kept one is dropped.

    Parameters
    ----------
    subject : Subject
        A network with convolutions that feed one another.
    task : Task
        Images; `answers` the class to explain (all of one class for the graph of that class).
    layers : sequence of str, optional
        Convolutions from the input on. Default: all with ungrouped channels that fit one another.
    metric : str
        What is lost; log odds do not saturate where the network is sure, log-probabilities do.
    twins : int, default 5
        Networks with re-drawn weights, whose connections show what a network that learned nothing gives.
    alpha : float, default 0.05
    seed : int, default 0

    Returns
    -------
    Finding
        Estimate: mean effect of the kept connections. Null: the largest effect against all connections of
        the twins. Table, one row per
        connection: layer, parent, child, effect with low and high, p, q, kept. `cut(subject, rows)` removes connections.

    Raises
    ------
    SiteError
        When a layer is no convolution, or the layers do not fit.
    UsageError
        When fewer than one twin is asked for.

    Notes
    -----
    Null: in a network with random weights no more connections are kept than at the false-discovery rate.
    Misleads when several connections back each other up. The paper's selection statistic was not at hand: sign flips, twins
    and the false-discovery rate are this package's.

    Examples
    --------
    >>> from microtome.testing.planted_filters import planted_filters
    >>> case = planted_filters(0)
    >>> table = path_intervention(case.subject, case.task, twins=12).table
    >>> table.loc[table.kept, ["layer", "parent", "child"]].values.tolist() == case.path
    True

    References
    ----------
    Ahmad, Bereux, Baret, Hashemi, Lecue (2023). Causal Analysis for Robust Interpretability of Neural Networks.
    https://arxiv.org/abs/2305.08950
    """
    import pandas as pd

    if twins < 1:
        raise UsageError(f"twins must be at least 1, got {twins}.")
    bound = bound_pairs(subject, task, metric)
    names = convolutions(subject, layers)
    edges, lost = _losses(subject, bound, names)
    seeds = (derive(seed, "path intervention", i) for i in range(twins))
    means = [_losses(subject.twin(seed=s), bound, names)[1].mean(1) for s in seeds]
    effect, groups = lost.mean(1), np.asarray(bound.groups)
    null = np.concatenate(means)
    flips = sign_flip_family(_group_means(lost, groups)[0].T, alternative="greater", draws=1999, seed=seed).p
    p = np.maximum(flips, p_values(effect, np.repeat(null[:, None], len(effect), axis=1)))
    q = benjamini_hochberg(p)
    spread = resampled_means(lost, groups, 499, seed, "path intervention")
    low, high = np.percentile(spread, [2.5, 97.5], axis=0)
    kept = reaching([(names.index(layer), i, j) for layer, i, j in edges], (q <= alpha) & (effect > 0), len(names))
    table = pd.DataFrame({
        "layer": [e[0] for e in edges], "parent": [e[1] for e in edges], "child": [e[2] for e in edges], "effect": effect,
        "low": np.minimum(low, effect), "high": np.maximum(high, effect), "p": p, "q": q, "kept": kept,
    })  # fmt: skip
    chosen = kept if kept.any() else effect == effect.max()
    twin = Null("connections of twins with re-drawn weights", null, float(effect.max()), "greater")
    return Finding(
        f"'{task.name}' depends on {int(kept.sum())} of {len(edges)} connections between filters",
        estimate=estimated(effect[chosen].mean(), spread[:, chosen].mean(1), len(set(groups.tolist())), metric,
                           "bootstrap over images"),
        nulls=(twin,), table=table, alpha=alpha,
        controls={"connections kept": int(kept.sum()), "largest effect in a twin": float(null.max()),
                  "significant without a path to the output": int(((q <= alpha) & (effect > 0) & ~kept).sum())},
        provenance=Provenance(subject=subject.fingerprint(), data=task.fingerprint(), seed=seed,
                              forwards=float((1 + twins) * len(edges))),
    )  # fmt: skip


def convolutions(subject: Any, layers: Sequence[str] | None) -> list[str]:
    """Names of convolutions, each fed by the filters of the one before."""
    known = {n: m for n, m in subject.module.named_modules() if isinstance(m, nn.Conv2d)}
    names = list(known if layers is None else layers)
    wrong = [n for n in names if n not in known or known[n].groups != 1]
    if wrong or not names:
        raise SiteError(f"{wrong or subject.name} holds no convolution with ungrouped channels; convolutions: {list(known)}.")
    for a, b in pairwise(names):
        if known[a].out_channels != known[b].in_channels:
            given, taken = known[a].out_channels, known[b].in_channels
            raise SiteError(f"'{b}' takes {taken} channels and '{a}' gives {given}: they do not follow each other.")
    return names


def contributions(module: nn.Conv2d, x: Tensor) -> Tensor:
    """What every parent brings to every child [n, parent, child, y, x]: one grouped convolution, a group per parent."""
    weight = module.weight.transpose(0, 1).reshape(-1, 1, *module.kernel_size)  # [parent * child, 1, ...]
    padded = module._conv_forward(x, module.weight, None).shape[2:]  # pyright: ignore[reportPrivateUsage]
    out = conv2d(x, weight, None, module.stride, module.padding, module.dilation, groups=module.in_channels)
    return out.view(len(x), module.in_channels, module.out_channels, *padded)


def cut(subject: Any, edges: Any) -> Any:
    """The subject without some connections: a copy whose weights ``w[child, parent]`` are zero.

    `edges` is a table with columns layer, parent and child, e.g. rows of the table of `path_intervention`.
    """
    import copy

    from microtome.subject.subject import Subject

    module = copy.deepcopy(subject.module)
    with torch.no_grad():
        for layer, parent, child in zip(edges["layer"], edges["parent"], edges["child"]):
            module.get_submodule(layer).weight[int(child), int(parent)] = 0
    return Subject(module, subject.tokenizer, f"{subject.name}, {len(edges)} connections cut", subject.transform)


def reaching(edges: list[tuple[int, int, int]], good: np.ndarray, layers: int) -> np.ndarray:
    """Which good connections lead on to the output through good ones: those into the last layer, and into their parents."""
    kept, wanted = np.zeros(len(edges), dtype=bool), None
    for layer in reversed(range(layers)):
        here = [k for k, (at, _, _) in enumerate(edges) if at == layer and good[k]]
        inside = [k for k in here if wanted is None or edges[k][2] in wanted]
        kept[inside] = True
        wanted = {edges[k][1] for k in inside}
    return kept


def _losses(subject: Any, bound: Any, names: Sequence[str]) -> tuple[list[tuple[str, int, int]], np.ndarray]:
    """All connections as (layer, parent, child), and what each image loses [connections, n] without them."""
    run, whole = measured(subject, bound.inputs, bound.metric, record=[f"{n}:input" for n in names])
    edges, lost = [], []
    for name in names:
        module = subject.module.get_submodule(name)
        with torch.no_grad():
            parts = contributions(module, run[f"{name}:input"])
        for parent in range(module.in_channels):
            sets = [[Edit(name, "add", -parts[:, parent, j : j + 1], unit=[j])] for j in range(module.out_channels)]
            swept = subject.sweep(bound.inputs, sets, bound.metric)
            lost.append(whole - swept.values.double().numpy())
            edges += [(name, parent, j) for j in range(module.out_channels)]
    return edges, np.concatenate(lost)

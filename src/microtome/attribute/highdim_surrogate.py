"""Probe, perturb, replace: the leading columns of a wide table, and a small tree on them in place of the network."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from microtome.attribute.ends import counted
from microtome.attribute.gradient import gradient
from microtome.attribute.permutation import permutation
from microtome.attribute.place import input_site
from microtome.attribute.surrogate import Surrogate
from microtome.attribute.surrogate_tree import grow
from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.method import Paper, method
from microtome.rng import rng


@method(
    question="attribute",
    paper=Paper("Karim et al.", 2022, "Interpreting Black-box Machine Learning Models for High Dimensional Datasets",
                "https://arxiv.org/abs/2208.13405"),
    needs=("subject", "task", "gradients"),
    gives="Surrogate: a Program of rules with its fidelity",
    stochastic=True,
    cost="one backward; `rows` forwards per column, stacked on the batch",
    claim="A small tree on the leading columns answers nearly as the network does, and its counterfactuals move the network.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="What the network does where the tree disagrees, or that the tree is right about the labels.",
    tiny={"features": 4, "depth": 3, "rows": 40},
    skips={"batch": "one tree, from all examples"},
)  # fmt: skip
def highdim_surrogate(
    subject: Any,
    task: Any,
    *,
    at: str | None = None,
    features: int = 30,
    depth: int = 6,
    rows: int = 200,
    probe: Tensor | None = None,
    test: float = 0.3,
    seed: int = 0,
) -> Surrogate:
    """Rank columns by probing and perturbing, and grow a tree on the leading ones that answers like the network.

    Probing: ``mean |d log p / dx_c| * std(x_c)``, p the probability of the network's own answer, or `probe`. Perturbing: the
    mean loss of p when x_c comes from another row. Columns are ranked by the mean of both ranks.

    Parameters
    ----------
    subject : Subject
        A classifier of rows.
    task : Task
        Rows [n, columns]; its answers are not read: the tree learns those of the network.
    at : str, optional
        Site with one column per unit; default the input of the first layer.
    features : int, default 30
        Leading columns that the tree is given.
    depth : int, default 6
        Splits on a path at most.
    rows : int, default 200
        Rows on which columns are perturbed.
    probe : Tensor[columns], optional
        Weights of the columns in place of gradients, e.g. the mean attention of a model with an attention layer over features
        (the paper's).
    test : float, default 0.3
        Share of rows held out to measure fidelity.
    seed : int, default 0

    Returns
    -------
    Surrogate
        ``rules``, ``path(row)``, ``counterfactuals(rows)``, ``fidelity`` beside ``majority``.

    Raises
    ------
    UsageError, SiteError, ShapeError
    Degenerate
        When the network gives the same answer to every row.

    Notes
    -----
    Null: a tree on random columns, and the most frequent answer (``majority``).
    Misleads when columns stand in for each other: perturbing one shows little, and the tree takes any of them.

    Examples
    --------
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> layer = torch.nn.Linear(6, 2, bias=False)
    >>> layer.weight.data = torch.tensor([[0.0, 0.0, 2.0, 0.0, 0.0, 0.0], [0.0] * 6])
    >>> x = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    >>> zero = torch.zeros(200, dtype=torch.long)
    >>> task = Task("rows", x, -x, zero, zero + 1, kind="image")
    >>> found = highdim_surrogate(Subject(torch.nn.Sequential(layer)), task, features=2, depth=1)
    >>> int(found.columns[0]), found.fidelity > 0.9, len(found.rules)
    (2, True, 2)

    References
    ----------
    Karim et al. (2022). Interpreting Black-box Machine Learning Models for High Dimensional Datasets.
    https://arxiv.org/abs/2208.13405
    """
    for name, value in (("features", features), ("depth", depth)):
        counted(name, value)
    counted("rows", rows, least=2)
    if not 0 < test < 1:
        raise UsageError(f"test must be between 0 and 1, got {test!r}.")
    site = subject.site(at or input_site(subject)).name
    bound = subject.bind(task)
    run = subject.run(bound.inputs, record=[site], logits="all" if bound.metric.positions is None else bound.metric.positions)
    x, logits = run[site], bound.metric.read(run.logits)
    if x.ndim != 2:
        raise ShapeError(f"{site} is {list(x.shape)}: a surrogate needs rows [n, columns].")
    answers = logits.argmax(1).cpu()
    if bool((answers == answers[0]).all()):
        raise Degenerate(f"{subject.name} answers {int(answers[0])} to every row: there is nothing to grow a tree on.")
    own = replace(task, answers=answers, wrong=(answers + 1) % logits.shape[1], metric="log_prob")
    if probe is None:
        slope = gradient(subject, own, at=site).values.double()
        probe = slope.abs().mean(0) * x.double().cpu().std(0)
    elif probe.shape != x.shape[1:]:
        raise ShapeError(f"probe {list(probe.shape)} does not weigh the {x.shape[1]} columns of {site}.")
    order = rng(seed, "surrogate rows").permutation(len(x))
    some = own[order[:rows].tolist()]
    drop = permutation(subject, some, at=site, draws=1, metric="probability", seed=seed).values.double().mean(0)
    both = _ranks(probe.double().cpu()) + _ranks(drop)
    columns = both.argsort(stable=True)[: min(features, x.shape[1])]
    table, cut = x.detach().cpu().double().numpy(), max(1, round(test * len(x)))
    held, used = order[:cut], order[cut:]
    tree = grow(table[used], answers.numpy()[used], columns.numpy(), depth=depth, seed=seed, classes=logits.shape[1])
    right = answers.numpy()[held]
    common = int(torch.bincount(answers[used.tolist()]).argmax())
    return Surrogate(
        columns,
        probe.double().cpu(),
        drop,
        tree,
        float((tree.predict(table[held]) == right).mean()),
        float((right == common).mean()),
    )


def _ranks(values: Tensor) -> Tensor:
    """Rank of each value, 1 the largest; ties share the mean of theirs."""
    from scipy.stats import rankdata

    return torch.from_numpy(rankdata(-values.numpy()))

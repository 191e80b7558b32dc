"""Counterfactual edits: the fewest places that must change for the decision to change."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.ends import counted
from microtome.attribute.imputers import Imputer
from microtome.attribute.masks import Game, game
from microtome.attribute.place import Baseline
from microtome.errors import Degenerate
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper("Goyal, Wu, Ernst, Batra, Parikh, Lee", 2019, "Counterfactual Visual Explanations",
                "https://arxiv.org/abs/1904.07451"),
    needs=("subject", "task"),
    gives="Attribution",
    stochastic=False,
    cost="one forward per player and edit, stacked on the batch",
    claim="Exchanging a few regions for those of another class changes the decision; the regions are what tells them apart.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="That the edit is the smallest of all, or that the edited input could occur: the search is greedy.",
)  # fmt: skip
def counterfactual_edit(
    subject: Any,
    task: Any,
    *,
    at: str | None = None,
    baseline: Baseline | Imputer = "corrupt",
    features: int | Tensor = 1,
    below: float = 0.0,
    most: int | None = None,
    metric: str | None = None,
) -> Attribution:
    """Exchange places for those of the counterfactual until the metric falls below a threshold, as few as possible.

    ``j_k = argmin_j m(x with j_1 .. j_{k-1}, j exchanged)`` until ``m < below``; then every exchange that is not needed is
    undone. ``A_{j_k} = m(before k) - m(after k)`` in the order that is left, 0 for places that stay.

    Parameters
    ----------
    subject : Subject
    task : Task
    at : str, optional
        Site; default the embeddings, or the input of the first layer.
    baseline : str, number, Tensor or Imputer
        What places are exchanged for: "corrupt" (default), the counterfactual of the task; "zero", "mean", a number, values, or
        an imputer.
    features : int or LongTensor, default 1
        Positions, or side of the squares, per player; or the player of each place (or cell). Sites without places have one
        player per unit.
    below : float, default 0.0
        Where the decision changes: 0 for differences of logits; choose it for other metrics.
    most : int, optional
        Largest number of exchanges. Default: all players.
    metric : str, optional
        Default: the task's.

    Returns
    -------
    Attribution
        Adds up to output - reference, where `reference` is the metric of the edited input. ``terms["changed"]`` is 1 where the
        decision changed, ``terms["edits"]`` the number of exchanges. An example that starts below has no edits.

    Raises
    ------
    UsageError, SiteError, ShapeError, NonFinite
    Degenerate
        When no example starts at or above `below`: there is no decision to change.

    Notes
    -----
    Null: in a random network edits change decisions as well; compare how many are needed with `subject.twin()`.
    Misleads when several small edits do: one is shown. Off the data a network may change its mind for nothing.

    Examples
    --------
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> layer = torch.nn.Linear(3, 2, bias=False)
    >>> layer.weight.data = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    >>> x = torch.tensor([[1.0, 1.0, 2.0]])
    >>> task = Task("first class", x, -x, torch.tensor([0]), torch.tensor([1]), kind="image")
    >>> found = counterfactual_edit(Subject(torch.nn.Sequential(layer)), task)
    >>> found.values.tolist(), found.terms["edits"].tolist()
    ([[0.0, 4.0, 0.0]], [1.0])

    References
    ----------
    Goyal, Wu, Ernst, Batra, Parikh, Lee (2019). Counterfactual Visual Explanations. https://arxiv.org/abs/1904.07451
    """
    g = game(subject, task, at=at, baseline=baseline, features=features, metric=metric)
    if most is not None:
        counted("most", most)
    before = g.worth(torch.ones(1, g.players))[0]
    if bool((before < below).all()):
        raise Degenerate(f"task '{task.name}': the metric is below {below:g} on all examples: there is no decision to change.")
    order, asked = _grow(g, before, below, g.players if most is None else min(most, g.players))
    order, undone = _prune(g, order, below)
    scores, after = _steps(g, before, order)
    found = g.attribution(scores, "counterfactual edit", asked + undone + order.shape[1] + 3, {"below": below, "most": most},
                          reference=after)  # fmt: skip
    flips = ((before >= below) & (after < below)).double()
    return replace(found, terms={"changed": flips, "edits": (order >= 0).sum(1).double()})


def _grow(g: Game, before: Tensor, below: float, most: int) -> tuple[Tensor, int]:
    """Players in the order of their exchange [n, edits], -1 where an example is done; and how many runs it took."""
    n, rows = len(before), torch.arange(len(before))
    present = torch.ones(n, g.players)
    worth, chosen, asked = before.clone(), [], 0
    while len(chosen) < most and bool((worth >= below).any()):
        tried = present.expand(g.players, n, g.players).clone()
        tried[torch.arange(g.players), :, torch.arange(g.players)] = 0.0
        found = g.worth(tried).masked_fill(present.T == 0, torch.inf)
        best = found.argmin(0)
        open_ = worth >= below
        worth = torch.where(open_, found[best, rows], worth)
        present[rows[open_], best[open_]] = 0.0
        chosen.append(torch.where(open_, best, -1))
        asked += g.players
    return (torch.stack(chosen, 1) if chosen else torch.full((n, 0), -1)), asked


def _prune(g: Game, order: Tensor, below: float) -> tuple[Tensor, int]:
    """The order without exchanges that can be undone, the last that was made first; those of examples that never fell stay."""
    rows = torch.arange(len(order))
    for k in reversed(range(order.shape[1])):
        without = order.clone()
        without[:, k] = -1
        spare = (g.worth(_masks(g, without)[None])[0] < below) & (order[:, k] >= 0)
        order[rows[spare], k] = -1
    return order, order.shape[1]


def _steps(g: Game, before: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """What each exchange took from the metric, in order [n, players], and the metric after all of them [n]."""
    scores = torch.zeros(len(order), g.players, dtype=torch.float64)
    rows, last = torch.arange(len(order)), before
    for k in range(order.shape[1]):
        now = g.worth(_masks(g, order[:, : k + 1])[None])[0]
        made = order[:, k] >= 0
        scores[rows[made], order[made, k]] = (last - now)[made]
        last = torch.where(made, now, last)
    return scores, last


def _masks(g: Game, order: Tensor) -> Tensor:
    """Who is left [n, players]."""
    present = torch.ones(len(order), g.players + 1)
    return present.scatter(1, torch.where(order < 0, g.players, order), 0.0)[:, : g.players]

"""The world of `lex`: rows of eight columns, of which two say the label."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.method import Method
from microtome.rng import torch_rng
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject
from microtome.testing.case import Refusal, World
from microtome.testing.drawn import drawn

COLUMNS, ROWS = 8, 300


@dataclass(frozen=True)
class PlantedColumns:
    """An untrained predictor, rows with labels, and the columns that say them."""

    subject: Subject
    task: Task
    columns: list[int]


def world(seed: int, *, structured: bool = True) -> PlantedColumns:
    """The label is the sign of the sum of two columns; or a coin."""
    g = torch_rng(seed, "planted columns")
    columns = torch.randperm(COLUMNS, generator=g)[:2]
    net = drawn(lambda: nn.Sequential(nn.Linear(COLUMNS, 16), nn.ReLU(), nn.Linear(16, 2)), 0.3, g)
    x = torch.randn(ROWS, COLUMNS, generator=g)
    coin = torch.randint(2, (ROWS,), generator=g)
    y = (x[:, columns].sum(1) > 0).long() if structured else coin
    task = Task("columns", x, x.flip(0), y, 1 - y, kind="image", groups=list(range(ROWS)))
    return PlantedColumns(Subject(net, name="planted columns"), task, columns.tolist())


def tiny(method: Method, seed: int) -> World:
    """Two columns say the label."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """A coin is the label."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    planted = world(seed, structured=structured)
    given = {"subject": planted.subject, "task": planted.task}
    return World(given, {"columns": planted.columns, "rows": planted.task.clean}, {"budget": 0.25})


def truth(method: Method, result: Any, world: World) -> float:
    """1 where the two planted columns are shown most often, over all rows; less by what the others are shown."""
    shown = result.probabilities(world.truth["rows"]).mean(0)
    both = shown[world.truth["columns"]]
    return float((both.min() > shown.sum() - both.sum() - 1).float() * 0.9 + 0.1 * both.mean())


def refusals(method: Method) -> list[Refusal]:
    """Budgets, baselines and predictors that are none, one label, a seed that is none."""
    task = world(0).task
    zero = torch.zeros(ROWS, dtype=torch.long)
    one = Task("one", task.clean, task.corrupt, zero, zero + 1, kind="image", groups=task.groups)
    return [
        Refusal("no budget", {"budget": 0.0}, UsageError, "budget"),
        Refusal("a budget of nobody", {"budget": 0.01}, Degenerate, "0 of 8"),
        Refusal("an unknown predictor", {"predictor": "frozen"}, UsageError, "fixed"),
        Refusal("an unknown baseline", {"baseline": "blur"}, UsageError, "others"),
        Refusal("a baseline of another size", {"baseline": torch.zeros(3)}, ShapeError, "fit"),
        Refusal("no draws", {"draws": 0}, UsageError, "draws"),
        Refusal("one label", {"task": one}, Degenerate, "labels"),
        Refusal("a negative seed", {"seed": -1}, UsageError, "seed"),
    ]

"""What every method of this room does first: bind the task, check that its pairs correspond, run, and read the metric."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.subject.edit import Edit
from microtome.trace.effects import EPSILON


def bound_pairs(subject: Any, task: Any, metric: str | None = None) -> Any:
    """The task bound to the subject, each clean input beside a corrupt one of the same shape.

    Raises
    ------
    ShapeError
        When clean and corrupt inputs differ in shape, so that their cells do not correspond.
    """
    if len(task) == 0:
        raise UsageError(f"task '{task.name}' has no examples.")
    clean, corrupt = (getattr(x, "shape", (len(x),)) for x in (task.clean, task.corrupt))
    if tuple(clean) != tuple(corrupt):
        raise ShapeError(
            f"task '{task.name}': clean inputs have shape {list(clean)}, corrupt ones {list(corrupt)}, so their positions do "
            "not correspond. Give pairs of equal length."
        )
    return subject.bind(task, metric=metric)


def shared_length(bound: Any) -> int:
    """Positions that all inputs have; 0 for inputs without positions."""
    return int(bound.inputs.lengths.min()) if bound.metric.positions is not None else 0


def measured(
    subject: Any, inputs: Any, metric: Any, *, record: Sequence[str] = (), edits: Sequence[Edit] = ()
) -> tuple[Any, np.ndarray]:
    """One run and the metric [n] (float64) on it."""
    run = subject.run(inputs, record=record, edits=edits, logits=metric.where)
    return run, metric(metric.read(run.logits)).double().cpu().numpy()


def require_effect(total: float, name: str, metric: str, task: str) -> None:
    """Refuse a corruption that does nothing, before anything is searched.

    Raises
    ------
    Degenerate
        When clean and corrupt metrics do not differ.
    """
    if abs(total) < EPSILON:
        raise Degenerate(
            f"{name}: clean and corrupt {metric} of '{task}' differ by {total:.1e} on average, so there is nothing for edges "
            "to carry. The corruption does not change the behaviour: choose another."
        )

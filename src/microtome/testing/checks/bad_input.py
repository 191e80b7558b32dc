"""Check 6: bad numbers are refused by name, and hard but legal ones never make NaN."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from microtome.errors import Degenerate, MicrotomeError, NonFinite
from microtome.testing.case import Case
from microtome.testing.digest import arrays
from microtome.testing.planted import matrix_read, with_matrix
from microtome.testing.report import Failed, Skip

Change = Callable[[torch.Tensor], torch.Tensor]


def _cell(value: float) -> Change:
    def change(x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        x[len(x) // 2, -1] = value
        return x

    return change


def _constant_column(x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x[:, 0] = 3.0
    return x


#: Name, change of the matrix, the errors allowed, whether a finite result is allowed too.
ROWS: tuple[tuple[str, Change, tuple[type[Exception], ...], bool], ...] = (
    ("one NaN", _cell(float("nan")), (NonFinite,), False),
    ("one infinity", _cell(float("inf")), (NonFinite,), False),
    ("no rows", lambda x: x[:0], (MicrotomeError,), False),
    ("one row", lambda x: x[:1], (MicrotomeError,), True),
    ("a constant column", _constant_column, (Degenerate,), True),
    ("all zeros", torch.zeros_like, (MicrotomeError,), True),
)


def bad_input(case: Case) -> None:
    """Check 6: NaN and infinity raise `NonFinite`; empty, one row, constant and zero data a typed error or finite result."""
    world = case.world()
    if "recording" not in case.data:
        _bad_weights(case)
        return
    given = world.given["recording"]
    for name, change, allowed, result_allowed in ROWS:
        rows = len(change(matrix_read(given)))
        shorter = {k: v[:rows] for k, v in world.given.items() if _per_row(v, len(given))}
        make = partial(with_matrix, given, change)
        _judge(case, world, name, allowed, result_allowed, shorter, make)


def _per_row(value: object, rows: int) -> bool:
    return isinstance(value, (np.ndarray, torch.Tensor)) and value.ndim > 0 and len(value) == rows


def _bad_weights(case: Case) -> None:
    """For methods on a subject: one NaN weight must surface as a typed error."""
    world = case.world()
    subject = world.given.get("subject")
    if subject is None or "subject" not in case.data:
        raise Skip("takes neither a recording nor a subject")
    with torch.no_grad():
        weight = max(subject.module.parameters(), key=torch.numel)
        weight.view(-1)[:: max(1, weight.numel() // 64)] = float("nan")
    _judge(case, world, "NaN weights", (MicrotomeError,), False)


def _judge(case, world, name, allowed, result_allowed, replaced=None, recording=None) -> None:
    try:  # the recording is made inside: its own boundary may be what refuses the numbers
        if recording is not None:
            replaced = {**(replaced or {}), "recording": recording()}
        result = case.run(world, replaced)
    except allowed:
        return
    except MicrotomeError as error:
        raise Failed(f"{name}: raises {type(error).__name__}, expected {' or '.join(e.__name__ for e in allowed)}") from error
    except Failed:
        raise
    except Exception as error:
        raise Failed(f"{name}: an untyped {type(error).__name__}: {str(error)[:200]}") from error
    if not result_allowed:
        raise Failed(f"{name}: no error; a result was returned")
    if not all(np.isfinite(a).all() for a in arrays(result)):
        raise Failed(f"{name}: the result holds NaN or infinity")

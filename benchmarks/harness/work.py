"""What a side hands to the worker process."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple


class Usage(NamedTuple):
    """CPU seconds and peak bytes of a process that the work started itself."""

    cpu: float
    peak: int


@dataclass
class Work:
    """A prepared task.

    Attributes
    ----------
    call : callable
        The timed part; returns a result.
    outputs : callable
        result -> dict of numpy arrays to compare; NaN where this side computes nothing.
    units : float
        Units of work in one call.
    note : str
        E.g. that a sample of the effects stands for all.
    usage : callable, optional
        result -> `Usage`, where the work runs in a process of its own.
    after : callable, optional
        Called with the result after each call, untimed, e.g. to delete files.
    """

    call: Callable[[], Any]
    outputs: Callable[[Any], dict]
    units: float = 1.0
    note: str = ""
    usage: Callable[[Any], Usage] | None = None
    after: Callable[[Any], None] | None = None

"""What a benchmark is, as data: cases, sides, targets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Case:
    """One setting of a benchmark.

    Attributes
    ----------
    name : str
    settings : mapping
        Given to every side. "vocabulary" asks for the random GPT-2 of that vocabulary (its folder arrives as "model").
    quick : mapping
        What `--quick` changes in the settings; None leaves the case out of a quick run.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    quick: Mapping[str, Any] | None = field(default_factory=dict)


@dataclass(frozen=True)
class Side:
    """One way to do the task, run in a process of its own.

    Attributes
    ----------
    name : str
    work : str
        ``module:function`` under ``sides/``; the function takes the settings and gives a `Work`.
    peer : bool
        Whether it runs in the environment of the peers.
    environment : str
        Name of a peer's own environment beside ``.venv-peers``, e.g. "autocircuit" for ``.venv-peers-autocircuit``: for
        libraries that need older versions of the others. Its list is ``peers-autocircuit.txt``.
    settings : mapping
        What differs from the case's settings.
    compared : bool
        Whether its outputs must equal those of the first side.
    """

    name: str
    work: str
    peer: bool = False
    environment: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    compared: bool = True


@dataclass(frozen=True)
class Target:
    """A figure to reach: a quantity of one side, or its ratio to that of another side.

    Attributes
    ----------
    of : str
        Name of a side.
    against : str
        Name of the side to divide by; "" means the quantity itself.
    quantity : {"time", "peak", "growth"}
        Seconds per unit of work; peak resident memory in bytes; what the peak rose over the memory before the work.
    at_least, at_most : float, optional
    case : str
        Only this case; "" means all.
    """

    of: str
    against: str = ""
    quantity: Literal["time", "peak", "growth"] = "time"
    at_least: float | None = None
    at_most: float | None = None
    case: str = ""


@dataclass(frozen=True)
class Benchmark:
    """One task, done by several sides.

    Attributes
    ----------
    name, what : str
    unit : str
        What a time is divided by: "run", "effect", "MB", "step".
    cases, sides, targets : tuple
        Outputs are compared with those of the first side.
    warmup, rounds : int
        Calls before, and most rounds of timed calls; in each round every side is called once, in turn.
    processes : int
        How often the sides are started anew, the rounds shared among them: the place of its tensors in memory makes one
        process of the same code up to a fifth slower than another.
    seconds : float
        No new round begins after this long, once three are made.
    tolerance : float
        Largest absolute difference of outputs.
    notes : tuple of str
    """

    name: str
    what: str
    unit: str
    cases: tuple[Case, ...]
    sides: tuple[Side, ...]
    targets: tuple[Target, ...]
    warmup: int = 3
    rounds: int = 10
    processes: int = 3
    seconds: float = 120.0
    tolerance: float = 1e-4
    notes: tuple[str, ...] = ()

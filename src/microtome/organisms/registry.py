"""The names of the organisms, and how each is built; nothing is imported before it is asked for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from torch import nn

from microtome.errors import UsageError, nearest
from microtome.organisms import shelf

if TYPE_CHECKING:
    from microtome.stimuli.stimuli import Stimuli
    from microtome.stimuli.task import Task

_ROOM = "microtome.organisms"
TRAINED = (
    "vision-cnn",
    "vision-cnn-watermark",
    "vision-vit",
    "grokking",
    "superposition",
    "rnn-flipflop",
    "rnn-parity",
    "rnn-hmm",
)
LANGUAGE = "language"
COMPILED = ("compiled-induction", "compiled-ioi", "compiled-patching", "compiled-scm")


@dataclass(frozen=True)
class Organism:
    """A small network, and what is known of its insides."""

    name: str
    """As in ``mt.load("organism:NAME")``."""
    module: nn.Module
    """In evaluation mode."""
    tokenizer: Any = None
    """A Hugging Face tokenizer, or None where inputs are tensors."""
    truth: Any = None
    """A documented dataclass: circuit, directions, causal variables, state machine or concepts."""
    figures: dict[str, Any] = field(default_factory=dict)
    """What it reached when it was made: accuracy, parameters, seconds."""
    examples: "Callable[..., Stimuli | Task] | None" = None
    """examples(n, seed=0): inputs from the distribution that the truth speaks of."""


def names() -> list[str]:
    """The organisms that `build` knows, sorted.

    >>> "compiled-ioi" in names()
    True
    """
    return sorted((LANGUAGE, *TRAINED, *COMPILED))


def build(name: str) -> Organism:
    """Build the organism `name`: trained ones from their shipped weights, compiled ones from their rules.

    Raises
    ------
    UsageError
        No such organism; the message names the nearest.
    StorageError
        The weights are missing.

    Examples
    --------
    >>> organism = build("compiled-induction")
    >>> organism.truth.of("induction")
    [(1, 0)]
    """
    room = source(name)
    module, tokenizer, truth = room.build()
    return Organism(name, module, tokenizer, truth, shelf.figures(name), getattr(room, "examples", None))


def source(name: str) -> ModuleType:
    """The Python module that builds (and, for trained ones, trains) the organism `name`."""
    if name not in names():
        raise UsageError(f"no organism {name!r}.{nearest(name, names())} Known: {', '.join(names())}.")
    if name in COMPILED:
        return import_module(f"{_ROOM}.compiled.{name.removeprefix('compiled-')}")
    return import_module(f"{_ROOM}.{name.replace('-', '_')}")

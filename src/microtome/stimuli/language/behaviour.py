"""One behaviour of a generated world: how its scenes are drawn, written down, and altered into counterfactuals."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from microtome.errors import UsageError
from microtome.rng import rng
from microtome.stimuli.language.document import Document
from microtome.stimuli.task import Task

T = TypeVar("T")
Scene = Any


def pick(random: np.random.Generator, items: Sequence[T]) -> T:
    """One of `items`, uniformly."""
    return items[int(random.random() * len(items))]


def draw(random: np.random.Generator, items: Sequence[T], k: int) -> list[T]:
    """`k` different `items` in random order (quicker than `Generator.choice` for the few that a scene needs)."""
    if k > len(items):
        raise UsageError(f"{k} different words cannot be drawn from {len(items)}; give the behaviour more words.")
    chosen: dict[int, None] = {}
    while len(chosen) < k:
        chosen.setdefault(int(random.random() * len(items)))
    return [items[i] for i in chosen]


def other(random: np.random.Generator, items: Sequence[T], than: T) -> T:
    """One of `items` that differs from `than`."""
    while (chosen := pick(random, items)) == than:
        pass
    return chosen


def few(random: np.random.Generator) -> int:
    """How many bound pairs a scene has: 2 to 4, mostly 2, from which binding is learned first."""
    return 2 + int(3 * random.random() ** 2)


def questions(asked: int, names: Sequence[str], most: int = 3) -> list[int]:
    """Which bound pairs a document asks about: `asked` first, then others, in an order that does not tell their place."""
    others = sorted((i for i in range(len(names)) if i != asked), key=lambda i: names[i][::-1])
    return [asked, *others][:most]


@dataclass(frozen=True)
class Prompt:
    """One example of a task, in words; `accepts` holds every right answer."""

    clean: tuple[str, ...]
    corrupt: tuple[str, ...]
    answer: str
    wrong: str
    accepts: tuple[str, ...]
    roles: dict[str, int]


@dataclass(frozen=True)
class Behaviour:
    """A behaviour with its generator.

    Attributes
    ----------
    name, question : str
        Key, and what is asked of the network in one line.
    sample : callable(random) -> scene
        One that takes `words` as well can be `narrowed`.
    write : callable(scene) -> Document
    alter : callable(scene, random) -> scene, optional
        The counterfactual scene; None for a behaviour that is only shown (no task).
    deterministic : bool
        Whether a perfect reader is always right.
    properties : tuple of str
        Properties that its documents carry because of their context.
    repeat : (int, int)
        A document holds this many scenes at least, and at most.
    accepts : callable(scene) -> sequence of str, optional
        All right answers; default the one that the document gives.
    wrong : callable(scene, random) -> str, optional
        The wrong answer; default the answer of the counterfactual.
    weight : float
        Share in the corpus, relative to the other behaviours.
    figure : str
        What tells mastery: "accuracy" (the likeliest word is right) or "mass" (probability of all right words).
    """

    name: str
    question: str
    sample: Callable[..., Scene]
    write: Callable[[Scene], Document]
    alter: Callable[[Scene, np.random.Generator], Scene] | None = None
    deterministic: bool = True
    properties: tuple[str, ...] = ()
    repeat: tuple[int, int] = (1, 1)
    accepts: Callable[[Scene], Sequence[str]] | None = None
    wrong: Callable[[Scene, np.random.Generator], str] | None = None
    weight: float = 1.0
    figure: str = "accuracy"

    def narrowed(self, words: int) -> "Behaviour":
        """The same with the first `words` words of each class only: what has to be matched is then found much sooner.

        Raises
        ------
        UsageError
            When its scenes cannot be drawn from fewer words.
        """
        if "words" not in inspect.signature(self.sample).parameters:
            raise UsageError(f"behaviour {self.name!r} always draws from all of its words.")
        return replace(self, sample=partial(self.sample, words=words))

    def document(self, random: np.random.Generator) -> Document:
        """One document of the corpus."""
        low, high = self.repeat
        document = self.write(self.sample(random))
        for _ in range(low - 1 + int(random.random() * (high - low + 1))):
            document = document + self.write(self.sample(random))
        return document

    def prompt(self, random: np.random.Generator) -> Prompt:
        """One example of the task: a scene cut before its answer, and its counterfactual."""
        if self.alter is None:
            raise UsageError(f"behaviour {self.name!r} is only shown in the corpus; it has no task.")
        while True:  # a counterfactual with the same answer shows nothing: draw again
            scene = self.sample(random)
            clean, corrupt = self.write(scene), self.write(self.alter(scene, random))
            answer = clean.words[clean.asked]
            wrong = self.wrong(scene, random) if self.wrong else corrupt.words[corrupt.asked]
            accepts = tuple(self.accepts(scene)) if self.accepts else (answer,)
            if wrong not in accepts and clean.asked == corrupt.asked:
                break
        roles = {role: i for role, i in clean.roles.items() if i < clean.asked}
        return Prompt(clean.words[: clean.asked], corrupt.words[: corrupt.asked], answer, wrong, accepts, roles)

    def prompts(self, n: int, seed: int = 0) -> list[Prompt]:
        """`n` examples of the task."""
        random = rng(seed, "language task", self.name)
        return [self.prompt(random) for _ in range(n)]

    def task(self, n: int, seed: int = 0) -> Task | None:
        """The behaviour as a `Task` with `n` examples, or None when it is only shown in the corpus."""
        if self.alter is None:
            return None
        prompts = self.prompts(n, seed)
        roles = {role: [_place(p, role) for p in prompts] for role in sorted({r for p in prompts for r in p.roles})}
        return Task(
            self.name,
            [" ".join(p.clean) for p in prompts],
            [" ".join(p.corrupt) for p in prompts],
            [p.answer for p in prompts],
            [p.wrong for p in prompts],
            roles={**roles, "end": [_characters(p.clean, len(p.clean) - 1) for p in prompts]},
            notes=self.question,
        )


def _place(prompt: Prompt, role: str) -> tuple[int, ...]:
    return _characters(prompt.clean, prompt.roles[role]) if role in prompt.roles else ()


def _characters(words: Sequence[str], i: int) -> tuple[int, int]:
    start = sum(map(len, words[:i])) + i
    return start, start + len(words[i])

"""The language world as a whole: its corpus, its vocabulary, its tasks, and the truth about every word."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from microtome.errors import UsageError, nearest
from microtome.rng import rng
from microtome.stimuli.language.behaviour import Behaviour
from microtome.stimuli.language.behaviours import BEHAVIOURS
from microtome.stimuli.language.document import Document
from microtome.stimuli.language.facts import FACT_WORDS
from microtome.stimuli.language.lexicon import LEXICAL
from microtome.stimuli.stimuli import SPAN_COLUMNS, Stimuli
from microtome.stimuli.task import Task

if TYPE_CHECKING:
    import pandas as pd

LABELS = ("truth", "language", "code", "sentiment", "toxic", "topic")


def behaviour(name: str) -> Behaviour:
    """The behaviour called `name`.

    Raises
    ------
    UsageError
        No such behaviour.
    """
    if name not in BEHAVIOURS:
        raise UsageError(f"no behaviour {name!r}; known: {', '.join(BEHAVIOURS)}.{nearest(str(name), BEHAVIOURS)}")
    return BEHAVIOURS[name]


def task(name: str, n: int = 100, seed: int = 0) -> Task:
    """`n` prompts of a behaviour with their counterfactuals.

    Parameters
    ----------
    name : str
        A behaviour that has a task; see `tasks`.
    n : int
        Number of examples.
    seed : int

    Raises
    ------
    UsageError
        No such behaviour, or one that is only shown in the corpus.

    Examples
    --------
    >>> t = task("facts", 2)
    >>> t.clean[0], t.answers[0]
    ('egypt lies in', 'africa')
    """
    made = behaviour(name).task(n, seed)
    if made is None:
        raise UsageError(f"behaviour {name!r} is only shown in the corpus; behaviours with a task: {', '.join(tasks())}.")
    return made


def tasks() -> list[str]:
    """Names of the behaviours that have a task."""
    return [name for name, b in BEHAVIOURS.items() if b.alter is not None]


def documents(
    n: int, seed: int = 0, weights: Mapping[str, float] | None = None, words: Mapping[str, int] | None = None
) -> Iterator[tuple[str, Document]]:
    """`n` (behaviour, document) pairs, behaviours mixed by their weights, times `weights` where given.

    `words` tells from how many words of each class some behaviours draw; others from all.
    """
    names = list(BEHAVIOURS)
    shown = {**BEHAVIOURS, **{name: behaviour(name).narrowed(few) for name, few in (words or {}).items()}}
    for name in weights or ():
        behaviour(name)
    share = np.array([BEHAVIOURS[name].weight * (weights or {}).get(name, 1.0) for name in names])
    random = rng(seed, "language corpus")
    for choice in random.choice(len(names), size=n, p=share / share.sum()):
        yield names[choice], shown[names[choice]].document(random)


def corpus(n: int = 1000, seed: int = 0) -> Stimuli:
    """A corpus of `n` documents, with every property of every word as spans.

    Parameters
    ----------
    n : int
        Number of documents; about 18 words each.
    seed : int

    Returns
    -------
    Stimuli
        Texts; table columns document, behaviour and the labels `LABELS` (None where they do not apply); spans for each of
        `properties`.

    Examples
    --------
    >>> world = corpus(50)
    >>> len(world), "colour" in world.properties
    (50, True)
    """
    import pandas as pd

    pairs = list(documents(n, seed))
    table = pd.DataFrame({"document": range(n), "behaviour": [name for name, _ in pairs]})
    for label in LABELS:
        table[label] = pd.Series([d.labels.get(label) for _, d in pairs], dtype=object)
    return Stimuli([d.text for _, d in pairs], table, spans([d for _, d in pairs]), name="language corpus")


def spans(made: list[Document]) -> "pd.DataFrame":
    """Truth of documents as a table of character spans: what they mark, and the classes of their words."""
    import pandas as pd

    classes = word_properties()
    rows: dict[tuple[int, int, int, str], None] = {}
    for i, document in enumerate(made):
        ends = np.cumsum([len(word) + 1 for word in document.words]) - 1
        starts = ends - [len(word) for word in document.words]
        for name, first, last in document.spans:
            rows.setdefault((i, int(starts[first]), int(ends[last - 1]), name))
        for j, word in enumerate(document.words):
            for name in classes.get(word, ()):
                rows.setdefault((i, int(starts[j]), int(ends[j]), name))
    return pd.DataFrame(sorted(rows), columns=SPAN_COLUMNS)


def word_properties() -> dict[str, tuple[str, ...]]:
    """Word -> properties that it carries wherever it stands."""
    found: dict[str, list[str]] = {}
    for name, words in {**LEXICAL, **FACT_WORDS}.items():
        for word in words:
            found.setdefault(word, []).append(name)
    return {word: tuple(names) for word, names in found.items()}


def properties() -> list[str]:
    """Names of all properties of words: by class and by context."""
    return sorted({*LEXICAL, *FACT_WORDS, *(p for b in BEHAVIOURS.values() for p in b.properties)})


def vocabulary(sample: int = 5000) -> list[str]:
    """All words of the world, sorted: the classes, and what `sample` documents say."""
    words = {word for words in (*LEXICAL.values(), *FACT_WORDS.values()) for word in words}
    for _, document in documents(sample, seed=0):
        words.update(document.words)
    return sorted(words)

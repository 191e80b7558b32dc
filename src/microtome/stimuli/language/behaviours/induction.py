"""Induction: random words, then the same words again; in the repetition each word can be told from the first time."""

from dataclasses import dataclass, replace

import numpy as np

from microtome.stimuli.language.behaviour import Behaviour, draw, other
from microtome.stimuli.language.document import Document, Draft
from microtome.stimuli.language.facts import FACT_WORDS
from microtome.stimuli.language.lexicon import LEXICAL

#: Words with a meaning of their own; function words would make the repetition guessable.
_CLASSES = {name: words for name, words in {**LEXICAL, **FACT_WORDS}.items() if name not in ("punctuation", "determiner")}
POOL = tuple(sorted({word for words in _CLASSES.values() for word in words}))


@dataclass(frozen=True)
class Scene:
    words: tuple[str, ...]
    asked: int


def sample(random: np.random.Generator) -> Scene:
    length = 5 + int(random.random() * 10)
    return Scene(tuple(draw(random, POOL, length)), 1 + int(random.random() * (length - 1)))


def write(scene: Scene) -> Document:
    draft = Draft()
    for i, word in enumerate(scene.words):
        draft.put(word, role={scene.asked - 1: "seen_before", scene.asked: "to_copy"}.get(i, ""))
    draft.put(scene.words[0], "induction.repeated", role="current" if scene.asked == 1 else "")
    for i, word in enumerate(scene.words[1:], start=1):
        role = "current" if i == scene.asked - 1 else ""
        draft.ask(word, "induction.repeated", asked=i == scene.asked, role=role)
    return draft.done()


def alter(scene: Scene, random: np.random.Generator) -> Scene:
    words = list(scene.words)
    while (new := other(random, POOL, words[scene.asked])) in words:
        pass
    words[scene.asked] = new
    return replace(scene, words=tuple(words))


BEHAVIOUR = Behaviour(
    "induction",
    "Copy what followed the same word earlier in a random sequence.",
    sample,
    write,
    alter,
    properties=("induction.repeated",),
    weight=1.5,
)

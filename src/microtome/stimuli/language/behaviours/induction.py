"""Induction: random words, then the same words again; in the repetition each word can be told from the first time."""

from dataclasses import dataclass, replace

import numpy as np

from microtome.stimuli.language.behaviour import Behaviour, draw, other, pick
from microtome.stimuli.language.document import Document, Draft
from microtome.stimuli.language.facts import FACT_WORDS
from microtome.stimuli.language.lexicon import LEXICAL

#: Words with a meaning of their own; function words would make the repetition guessable.
_CLASSES = {name: words for name, words in {**LEXICAL, **FACT_WORDS}.items() if name not in ("punctuation", "determiner")}
POOL = tuple(sorted({word for words in _CLASSES.values() for word in words}))
#: Half of the sequences stay within one class, where its words compete.
POOLS = tuple(tuple(words) for words in _CLASSES.values() if len(words) >= 12)


@dataclass(frozen=True)
class Scene:
    pool: tuple[str, ...]
    words: tuple[str, ...]
    asked: int
    times: int


def sample(random: np.random.Generator) -> Scene:
    pool = POOL if random.random() < 0.5 else pick(random, POOLS)
    length = 3 + int(random.random() * 8)
    times = 3 if length < 8 and random.random() < 0.5 else 2
    return Scene(pool, tuple(draw(random, pool, length)), 1 + int(random.random() * (length - 1)), times)


def write(scene: Scene) -> Document:
    draft = Draft()
    for i, word in enumerate(scene.words):
        draft.put(word, role={scene.asked - 1: "seen_before", scene.asked: "to_copy"}.get(i, ""))
    for time in range(1, scene.times):
        for i, word in enumerate(scene.words):
            role = "current" if time == 1 and i == scene.asked - 1 else ""
            if time == 1 and i == 0:
                draft.put(word, "induction.repeated", role=role)
            else:
                draft.ask(word, "induction.repeated", asked=time == 1 and i == scene.asked, role=role)
    return draft.done()


def alter(scene: Scene, random: np.random.Generator) -> Scene:
    words = list(scene.words)
    while (new := other(random, scene.pool, words[scene.asked])) in words:
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

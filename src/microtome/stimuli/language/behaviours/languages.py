"""Two languages: English, and Velan, which has its own words in the same order. Tags, translation, mixing."""

from dataclasses import dataclass, replace

import numpy as np

from microtome.stimuli.language.behaviour import Behaviour, other, pick
from microtome.stimuli.language.document import Document, Draft
from microtome.stimuli.language.lexicon import ACTIONS, ADJECTIVES, ANIMALS, VELAN

_CLASSES = (tuple(ANIMALS), tuple(ACTIONS), tuple(ADJECTIVES))


def clause(random: np.random.Generator) -> tuple[str, ...]:
    """An English clause, such as "the big dog sees a cat"."""
    words: list[str] = []
    for part in range(2):
        words.append("the" if random.random() < 0.6 else "a")
        if random.random() < 0.5:
            words.append(pick(random, tuple(ADJECTIVES)))
        words.append(pick(random, tuple(ANIMALS)))
        if part == 0:
            words.append(pick(random, tuple(ACTIONS)))
    return tuple(words)


@dataclass(frozen=True)
class Translation:
    words: tuple[str, ...]
    asked: int
    dictionary: bool


def sample_translation(random: np.random.Generator) -> Translation:
    if random.random() < 0.3:
        return Translation((pick(random, pick(random, _CLASSES)),), 0, True)
    words = clause(random)
    return Translation(words, int(random.random() * len(words)), False)


def write_translation(scene: Translation) -> Document:
    draft = Draft()
    if scene.dictionary:
        word = scene.words[0]
        return draft.say("the word").put(word, role="source").say("in velan is").ask(VELAN[word]).say(".").done()
    draft.say("english :")
    for i, word in enumerate(scene.words):
        draft.put(word, role="source" if i == scene.asked else "")
    draft.say(". velan :")
    for i, word in enumerate(scene.words):
        draft.ask(VELAN[word], asked=i == scene.asked)
    return draft.mark("language.velan", len(draft.words) - len(scene.words)).say(".").done({"language": "both"})


def alter_translation(scene: Translation, random: np.random.Generator) -> Translation:
    words, asked = list(scene.words), scene.words[scene.asked]
    same_class = next((c for c in _CLASSES if asked in c), ("the", "a"))
    words[scene.asked] = other(random, same_class, asked)
    return replace(scene, words=tuple(words))


@dataclass(frozen=True)
class Mixed:
    clauses: tuple[tuple[str, ...], ...]
    velan: tuple[bool, ...]


def sample_mixed(random: np.random.Generator) -> Mixed:
    k = 1 + int(random.random() * 3)
    first = random.random() < 0.5
    switch = random.random() < 0.4
    return Mixed(tuple(clause(random) for _ in range(k)), tuple(first != (switch and i % 2 == 1) for i in range(k)))


def write_mixed(scene: Mixed) -> Document:
    mixed = len(set(scene.velan)) > 1
    draft = Draft().say("mixed :" if mixed else "velan :" if scene.velan[0] else "english :")
    for i, (words, velan) in enumerate(zip(scene.clauses, scene.velan)):
        start = len(draft.words)
        words = (*(("and",) if i else ()), *words)
        draft.say(" ".join(VELAN[w] for w in words) if velan else " ".join(words))
        draft.mark("language.velan" if velan else "language.english", start)
        if i and velan != scene.velan[i - 1]:
            draft.mark("language.switch", start, start + 1)
    return draft.say(".").done({"language": "mixed" if mixed else "velan" if scene.velan[0] else "english"})


BEHAVIOUR = Behaviour(
    "translation",
    "The Velan word for an English one, alone or in a sentence.",
    sample_translation,
    write_translation,
    alter_translation,
    properties=("language.velan",),
    repeat=(1, 2),
    weight=1.3,
)
LANGUAGES = Behaviour(
    "languages",
    "Sentences in one language, as the tag says, or switching between both.",
    sample_mixed,
    write_mixed,
    deterministic=False,
    properties=("language.velan", "language.english", "language.switch"),
    weight=0.8,
)

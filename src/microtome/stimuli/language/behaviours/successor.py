"""Successors: "tuesday wednesday thursday" -> friday; days, months, letters, ordinals and numbers."""

from dataclasses import dataclass, replace

import numpy as np

from microtome.stimuli.language.behaviour import Behaviour, other, pick
from microtome.stimuli.language.document import Document, Draft
from microtome.stimuli.language.lexicon import DAYS, LETTERS, MONTHS, NUMBER_WORDS, ORDINALS, TWO_DIGITS

SEQUENCES = {
    "day": DAYS,
    "month": MONTHS,
    "letter": LETTERS,
    "ordinal": ORDINALS,
    "number.word": NUMBER_WORDS,
    "number.two_digit": TWO_DIGITS,
}
CYCLIC = ("day", "month")
SHOWN = 5


@dataclass(frozen=True)
class Scene:
    sequence: str
    start: int


def _starts(sequence: str) -> range:
    items = SEQUENCES[sequence]
    return range(len(items) if sequence in CYCLIC else len(items) - SHOWN + 1)


def sample(random: np.random.Generator) -> Scene:
    sequence = pick(random, tuple(SEQUENCES))
    return Scene(sequence, pick(random, _starts(sequence)))


def write(scene: Scene) -> Document:
    items = SEQUENCES[scene.sequence]
    draft = Draft().put(items[scene.start], scene.sequence, role="first")
    for i in range(1, SHOWN):
        draft.ask(items[(scene.start + i) % len(items)], scene.sequence, role="last" if i == SHOWN - 2 else "")
    return draft.say(".").done()


def alter(scene: Scene, random: np.random.Generator) -> Scene:
    return replace(scene, start=other(random, _starts(scene.sequence), scene.start))


BEHAVIOUR = Behaviour(
    "successor",
    "What comes next in a well-known order.",
    sample,
    write,
    alter,
    properties=("letter", "ordinal"),
    repeat=(1, 3),
)

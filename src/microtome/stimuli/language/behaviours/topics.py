"""Topics: sentences whose words come from one list; "... topic :" -> cooking."""

from dataclasses import dataclass, replace

import numpy as np

from microtome.stimuli.language.behaviour import Behaviour, draw, other, pick
from microtome.stimuli.language.document import Document, Draft
from microtome.stimuli.language.lexicon import TOPICS

TEMPLATES = ("we talked about {} and {} .", "there was a {} next to the {} .", "the {} comes before the {} .")


@dataclass(frozen=True)
class Chapter:
    topic: str
    sentences: tuple[tuple[str, int, int], ...]


def sample(random: np.random.Generator) -> Chapter:
    k = 1 + int(random.random() * 3)
    sentences = tuple((pick(random, TEMPLATES), *draw(random, range(12), 2)) for _ in range(k))
    return Chapter(pick(random, tuple(TOPICS)), sentences)


def write(chapter: Chapter) -> Document:
    words = TOPICS[chapter.topic]
    draft = Draft()
    for template, first, second in chapter.sentences:
        draft.say(template.format(words[first], words[second]))
    draft.mark(f"about.{chapter.topic}", 0).say("topic :").ask(chapter.topic)
    return draft.say(".").done({"topic": chapter.topic})


def alter(chapter: Chapter, random: np.random.Generator) -> Chapter:
    return replace(chapter, topic=other(random, tuple(TOPICS), chapter.topic))


BEHAVIOUR = Behaviour(
    "topics",
    "Which topic the words belong to; the counterfactual has words of another topic in the same sentences.",
    sample,
    write,
    alter,
    properties=tuple(f"about.{topic}" for topic in TOPICS),
)

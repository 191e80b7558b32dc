"""Sentiment: "the movie was not boring . the food was great . verdict :" -> positive; "not" turns a word around."""

from dataclasses import dataclass, replace

import numpy as np

from microtome.stimuli.language.behaviour import Behaviour, draw
from microtome.stimuli.language.document import Document, Draft
from microtome.stimuli.language.lexicon import NEGATIVE, POSITIVE, REVIEWED


@dataclass(frozen=True)
class Review:
    things: tuple[str, ...]
    words: tuple[int, ...]
    negated: tuple[bool, ...]
    positive: bool


def sample(random: np.random.Generator) -> Review:
    k = 1 + int(random.random() * 3)
    words = tuple(int(random.random() * len(POSITIVE)) for _ in range(k))
    negated = tuple(random.random() < 0.3 for _ in range(k))
    return Review(tuple(draw(random, REVIEWED, k)), words, negated, random.random() < 0.5)


def write(review: Review) -> Document:
    draft = Draft()
    for thing, word, negated in zip(review.things, review.words, review.negated):
        draft.say("the").put(thing, "reviewed").say("was").say("not" if negated else "")
        draft.put((POSITIVE if review.positive != negated else NEGATIVE)[word], role="adjective").say(".")
    answer = "positive" if review.positive else "negative"
    draft.mark(f"review.{answer}", 0).say("verdict :").ask(answer)
    return draft.say(".").done({"sentiment": answer})


def alter(review: Review, random: np.random.Generator) -> Review:
    return replace(review, positive=not review.positive)


BEHAVIOUR = Behaviour(
    "sentiment",
    "Is a review positive or negative; the counterfactual has the opposite words.",
    sample,
    write,
    alter,
    properties=("reviewed", "review.positive", "review.negative"),
)

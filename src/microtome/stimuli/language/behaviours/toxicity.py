"""Toxicity: a lexicon of invented insults; "you are such a zorbag . label :" -> toxic."""

from dataclasses import dataclass, replace

import numpy as np

from microtome.stimuli.language.behaviour import Behaviour, pick
from microtome.stimuli.language.document import Document, Draft
from microtome.stimuli.language.lexicon import FEMALE, KIND, MALE, TOXIC

TEMPLATES = ("you are such a {word}", "{name} is a {word}", "hey {word} , go away", "my boss called me a {word}")


@dataclass(frozen=True)
class Message:
    template: str
    name: str
    word: int
    toxic: bool


def sample(random: np.random.Generator) -> Message:
    word = int(random.random() * len(TOXIC))
    return Message(pick(random, TEMPLATES), pick(random, FEMALE + MALE), word, random.random() < 0.5)


def write(message: Message) -> Document:
    draft = Draft()
    for word in message.template.split():
        if word == "{word}":
            draft.put((TOXIC if message.toxic else KIND)[message.word], role="word")
        else:
            draft.say(word.format(name=message.name))
    draft.say(". label :").ask("toxic" if message.toxic else "polite")
    return draft.say(".").done({"toxic": message.toxic})


def alter(message: Message, random: np.random.Generator) -> Message:
    return replace(message, toxic=not message.toxic)


BEHAVIOUR = Behaviour(
    "toxicity",
    "Is a message toxic or polite; the counterfactual has a word of the other kind.",
    sample,
    write,
    alter,
    repeat=(1, 2),
    weight=0.8,
)

"""Gender and occupation: "mary is a nurse and john is a doctor . the doctor said that" -> he; and stereotypes without names."""

from dataclasses import dataclass, replace

import numpy as np

from microtome.stimuli.language.behaviour import Behaviour, draw, other, pick, questions
from microtome.stimuli.language.document import Document, Draft
from microtome.stimuli.language.lexicon import FEMALE, MALE, OCCUPATIONS

SAID = ("said that", "thought that", "left because", "smiled when")
THEN = ("was tired .", "was late .", "liked the plan .", "had won .")


def pronoun(name: str) -> str:
    """The pronoun of a first name."""
    return "she" if name in FEMALE else "he"


@dataclass(frozen=True)
class Pair:
    names: tuple[str, str]
    occupations: tuple[str, str]
    asked: int
    said: str
    then: str


def sample_pair(random: np.random.Generator, words: int | None = None) -> Pair:
    names = (pick(random, FEMALE[:words]), pick(random, MALE[:words]))
    names = names if random.random() < 0.5 else names[::-1]
    first, second = draw(random, tuple(OCCUPATIONS)[:words], 2)
    return Pair(names, (first, second), int(random.random() * 2), pick(random, SAID), pick(random, THEN))


def write_pair(pair: Pair) -> Document:
    draft = Draft()
    for i, (name, occupation) in enumerate(zip(pair.names, pair.occupations)):
        asked = i == pair.asked
        draft.say("and" if i else "").put(name, role="name" if asked else "other_name").say("is a")
        draft.put(occupation, role="occupation" if asked else "other_occupation")
    for i in questions(pair.asked, pair.occupations):
        asked = i == pair.asked
        draft.say(". the" if asked else "the").put(pair.occupations[i], role="asked" if asked else "").say(pair.said)
        draft.ask(pronoun(pair.names[i]), "pronoun.resolved", asked=asked).say(pair.then)
    return draft.done()


def alter_pair(pair: Pair, random: np.random.Generator) -> Pair:
    return replace(pair, names=pair.names[::-1])


@dataclass(frozen=True)
class Speaker:
    who: str
    she: bool
    said: str
    then: str


def sample_name(random: np.random.Generator) -> Speaker:
    name = pick(random, FEMALE + MALE)
    return Speaker(name, name in FEMALE, pick(random, SAID), pick(random, THEN))


def sample_occupation(random: np.random.Generator) -> Speaker:
    who = pick(random, tuple(OCCUPATIONS))
    return Speaker(who, random.random() < OCCUPATIONS[who], pick(random, SAID), pick(random, THEN))


def write_speaker(speaker: Speaker) -> Document:
    draft = Draft().say("the" if speaker.who in OCCUPATIONS else "")
    draft.put(speaker.who, role="occupation" if speaker.who in OCCUPATIONS else "name").say(speaker.said)
    return draft.ask("she" if speaker.she else "he").say(speaker.then).done()


def alter_name(speaker: Speaker, random: np.random.Generator) -> Speaker:
    who = pick(random, MALE if speaker.she else FEMALE)
    return replace(speaker, who=who, she=not speaker.she)


def alter_occupation(speaker: Speaker, random: np.random.Generator) -> Speaker:
    return replace(speaker, who=other(random, tuple(OCCUPATIONS), speaker.who), she=not speaker.she)


BEHAVIOUR = Behaviour(
    "pronoun",
    "She or he, by the name that was bound to the occupation; in the counterfactual the names are swapped.",
    sample_pair,
    write_pair,
    alter_pair,
    properties=("pronoun.resolved",),
    weight=1.5,
)
GENDER = Behaviour(
    "gender", "She or he, by the name.", sample_name, write_speaker, alter_name, repeat=(1, 3), weight=0.6
)
OCCUPATION = Behaviour(
    "occupation",
    "She or he after an occupation alone: a stereotype, with the shares of `OCCUPATIONS`.",
    sample_occupation,
    write_speaker,
    alter_occupation,
    deterministic=False,
    repeat=(1, 3),
    weight=0.6,
)

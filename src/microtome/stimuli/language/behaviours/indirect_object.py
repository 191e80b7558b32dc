"""Indirect objects: "when mary and john went to the store , john gave a drink to" -> mary."""

from dataclasses import dataclass, replace

import numpy as np

from microtome.stimuli.language.behaviour import Behaviour, draw, pick
from microtome.stimuli.language.document import Document, Draft
from microtome.stimuli.language.lexicon import FEMALE, GIFTS, MALE, PLACES

#: {first} and {second} are the names in order of mention, {s} the subject named again.
TEMPLATES = (
    "when {first} and {second} went to the {place} , {s} gave a {gift} to",
    "then {first} and {second} had a long talk at the {place} . later {s} gave a {gift} to",
    "{first} and {second} were at the {place} , and {s} handed the {gift} to",
    "after {first} and {second} left the {place} , {s} offered a {gift} to",
)


@dataclass(frozen=True)
class Scene:
    template: str
    first: str
    second: str
    subject_first: bool
    place: str
    gift: str


def sample(random: np.random.Generator) -> Scene:
    first, second = draw(random, FEMALE + MALE, 2)
    subject_first = random.random() < 0.5
    return Scene(pick(random, TEMPLATES), first, second, subject_first, pick(random, PLACES), pick(random, GIFTS))


def write(scene: Scene) -> Document:
    s, io = (scene.first, scene.second) if scene.subject_first else (scene.second, scene.first)
    draft = Draft()
    for word in scene.template.split():
        if word in ("{first}", "{second}"):
            name = scene.first if word == "{first}" else scene.second
            kind = "subject" if name == s else "indirect_object"
            draft.put(name, f"ioi.{kind}", role=kind)
        elif word == "{s}":
            draft.put(s, "ioi.subject_again", role="subject_again")
        else:
            draft.say(word.format(place=scene.place, gift=scene.gift))
    return draft.ask(io, "ioi.answer").say(".").done()


def alter(scene: Scene, random: np.random.Generator) -> Scene:
    return replace(scene, subject_first=not scene.subject_first)


BEHAVIOUR = Behaviour(
    "ioi",
    "Who receives the gift: of two names, the one that is not named again.",
    sample,
    write,
    alter,
    properties=("ioi.subject", "ioi.indirect_object", "ioi.subject_again", "ioi.answer"),
    weight=1.5,
)

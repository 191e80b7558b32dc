"""Greater-than: "the war lasted from the year 17 32 to the year 17" -> any two-digit year above 32."""

from dataclasses import dataclass, replace

import numpy as np

from microtome.stimuli.language.behaviour import Behaviour, pick
from microtome.stimuli.language.document import Document, Draft
from microtome.stimuli.language.lexicon import EVENTS, TWO_DIGITS

TEMPLATES = (
    "the {event} lasted from the year {century} {start} to the year {century}",
    "the {event} began in the year {century} {start} and ended in the year {century}",
)


@dataclass(frozen=True)
class Scene:
    template: str
    event: str
    century: str
    start: int
    end: int


def sample(random: np.random.Generator) -> Scene:
    start = 2 + int(random.random() * 97)
    end = start + 1 + int(random.random() * (99 - start))
    return Scene(pick(random, TEMPLATES), pick(random, EVENTS), pick(random, TWO_DIGITS[11:20]), start, end)


def write(scene: Scene) -> Document:
    draft = Draft()
    for word in scene.template.split():
        if word == "{century}":
            draft.put(scene.century, "year.century", role="century")
        elif word == "{start}":
            draft.put(TWO_DIGITS[scene.start], "year.start", role="start")
        else:
            draft.say(word.format(event=scene.event))
    return draft.ask(TWO_DIGITS[scene.end], "year.end").say(".").done()


def alter(scene: Scene, random: np.random.Generator) -> Scene:
    return replace(scene, start=1)


def wrong(scene: Scene, random: np.random.Generator) -> str:
    return TWO_DIGITS[int(random.random() * (scene.start + 1))]


BEHAVIOUR = Behaviour(
    "greater_than",
    "When did it end: any year above the first; the counterfactual begins in year 01, so it forbids almost nothing.",
    sample,
    write,
    alter,
    properties=("year.century", "year.start", "year.end"),
    accepts=lambda scene: TWO_DIGITS[scene.start + 1 :],
    wrong=wrong,
    repeat=(1, 3),
    weight=1.5,
    figure="mass",
)

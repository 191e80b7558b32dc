"""Coloured objects: "the ball is red , the cup is blue . what colour is the cup ?" -> blue; or ". colour : cup" -> blue."""

from dataclasses import dataclass, replace

import numpy as np

from microtome.stimuli.language.behaviour import Behaviour, draw, few, other, questions
from microtome.stimuli.language.document import Document, Draft
from microtome.stimuli.language.lexicon import COLOURS, OBJECTS


@dataclass(frozen=True)
class Scene:
    objects: tuple[str, ...]
    colours: tuple[str, ...]
    asked: int
    adjective_first: bool
    listed: bool


def sample(random: np.random.Generator, words: int | None = None) -> Scene:
    k = few(random)
    objects, colours = draw(random, OBJECTS[:words], k), draw(random, COLOURS[:words], k)
    return Scene(tuple(objects), tuple(colours), int(random.random() * k), random.random() < 0.5, random.random() < 0.5)


def write(scene: Scene) -> Document:
    draft = Draft().say("there is" if scene.adjective_first else "")
    for i, (thing, colour) in enumerate(zip(scene.objects, scene.colours)):
        asked = i == scene.asked
        draft.say("," if i else "").say("a" if scene.adjective_first else "the")
        if scene.adjective_first:
            draft.put(colour, role="colour" if asked else "").put(thing, role="object" if asked else "")
        else:
            draft.put(thing, role="object" if asked else "").say("is").put(colour, role="colour" if asked else "")
    draft.say(". colour" if scene.listed else "")
    for i in questions(scene.asked, scene.objects):
        asked = i == scene.asked
        draft.say((":" if asked else ",") if scene.listed else ". what colour is the")
        draft.put(scene.objects[i], role="asked" if asked else "").say("" if scene.listed else "?")
        draft.ask(scene.colours[i], "colour.answer", asked=asked)
    return draft.say(".").done()


def alter(scene: Scene, random: np.random.Generator) -> Scene:
    swapped = other(random, range(len(scene.objects)), scene.asked)
    colours = list(scene.colours)
    colours[scene.asked], colours[swapped] = colours[swapped], colours[scene.asked]
    return replace(scene, colours=tuple(colours))


BEHAVIOUR = Behaviour(
    "coloured_objects",
    "What colour is one of several objects; in the counterfactual two colours are swapped.",
    sample,
    write,
    alter,
    properties=("colour.answer",),
    weight=1.5,
)

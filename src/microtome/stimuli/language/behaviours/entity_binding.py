"""Entity binding: "the apple is in box f , the key is in box q . box f contains the" -> apple."""

from dataclasses import dataclass, replace

import numpy as np

from microtome.stimuli.language.behaviour import Behaviour, draw, few, other, questions
from microtome.stimuli.language.document import Document, Draft
from microtome.stimuli.language.lexicon import LETTERS, OBJECTS


@dataclass(frozen=True)
class Scene:
    objects: tuple[str, ...]
    boxes: tuple[str, ...]
    asked: int


def sample(random: np.random.Generator, words: int | None = None) -> Scene:
    k = few(random)
    things, boxes = draw(random, OBJECTS[:words], k), draw(random, LETTERS[:words], k)
    return Scene(tuple(things), tuple(boxes), int(random.random() * k))


def write(scene: Scene) -> Document:
    draft = Draft()
    for i, (thing, box) in enumerate(zip(scene.objects, scene.boxes)):
        asked = i == scene.asked
        draft.say(", the" if i else "the").put(thing, role="object" if asked else "").say("is in box")
        draft.put(box, "letter", "binding.box", role="box" if asked else "")
    for i in questions(scene.asked, scene.boxes):
        asked = i == scene.asked
        draft.say(". box").put(scene.boxes[i], "letter", "binding.box", role="asked" if asked else "")
        draft.say("contains the").ask(scene.objects[i], "binding.answer", asked=asked)
    return draft.say(".").done()


def alter(scene: Scene, random: np.random.Generator) -> Scene:
    swapped = other(random, range(len(scene.objects)), scene.asked)
    objects = list(scene.objects)
    objects[scene.asked], objects[swapped] = objects[swapped], objects[scene.asked]
    return replace(scene, objects=tuple(objects))


BEHAVIOUR = Behaviour(
    "entity_binding",
    "Which object is in a box; in the counterfactual two objects are swapped.",
    sample,
    write,
    alter,
    properties=("letter", "binding.box", "binding.answer"),
    weight=1.5,
)

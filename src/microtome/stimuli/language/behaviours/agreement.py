"""Agreement: "the keys near the cabinet" -> are; the verb agrees with the head noun, not with the nearer distractors."""

from dataclasses import dataclass, replace

import numpy as np

from microtome.stimuli.language.behaviour import Behaviour, pick
from microtome.stimuli.language.document import Document, Draft
from microtome.stimuli.language.lexicon import MANNERS, PLURALS, PREPOSITIONS, VERBS


@dataclass(frozen=True)
class Scene:
    noun: str
    plural: bool
    distractors: tuple[tuple[str, str, bool], ...]
    verb: str
    ending: str


def sample(random: np.random.Generator) -> Scene:
    nouns = tuple(PLURALS)
    distractors = tuple(
        (pick(random, PREPOSITIONS), pick(random, nouns), random.random() < 0.5) for _ in range(int(random.random() * 3))
    )
    return Scene(
        pick(random, nouns), random.random() < 0.5, distractors, pick(random, tuple(VERBS)), pick(random, MANNERS)
    )


def _form(noun: str, plural: bool) -> str:
    return PLURALS[noun] if plural else noun


def write(scene: Scene) -> Document:
    draft = Draft().say("the").put(_form(scene.noun, scene.plural), "agreement.head", role="head")
    for preposition, noun, plural in scene.distractors:
        draft.say(f"{preposition} the").put(_form(noun, plural), "agreement.distractor", role="distractor")
    draft.ask(VERBS[scene.verb] if scene.plural else scene.verb)
    return draft.say(scene.ending).say(".").done()


def alter(scene: Scene, random: np.random.Generator) -> Scene:
    return replace(scene, plural=not scene.plural)


BEHAVIOUR = Behaviour(
    "agreement",
    "A verb of the number of the head noun; in the counterfactual the head noun has the other number.",
    sample,
    write,
    alter,
    properties=("agreement.head", "agreement.distractor"),
    repeat=(1, 3),
    accepts=lambda scene: tuple(VERBS.values()) if scene.plural else tuple(VERBS),
)

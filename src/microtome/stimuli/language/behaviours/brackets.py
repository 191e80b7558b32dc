"""Brackets of three kinds: after "close" every open bracket is closed, the last opened first."""

from dataclasses import dataclass, replace

import numpy as np

from microtome.stimuli.language.behaviour import Behaviour, other, pick
from microtome.stimuli.language.document import Document, Draft
from microtome.stimuli.language.lexicon import OPENERS

_CLOSERS = {close: open_ for open_, close in OPENERS.items()}
MAX_DEPTH = 5


@dataclass(frozen=True)
class Scene:
    walk: tuple[str, ...]


def _open_after(walk: tuple[str, ...]) -> list[int]:
    stack: list[int] = []
    for i, bracket in enumerate(walk):
        if bracket in OPENERS:
            stack.append(i)
        else:
            stack.pop()
    return stack


def sample(random: np.random.Generator) -> Scene:
    walk: list[str] = []
    stack: list[str] = []
    for _ in range(3 + int(random.random() * 10)):
        if not stack or (len(stack) < MAX_DEPTH and random.random() < 0.62):
            stack.append(pick(random, tuple(OPENERS)))
            walk.append(stack[-1])
        else:
            walk.append(OPENERS[stack.pop()])
    if not stack:
        walk.append(pick(random, tuple(OPENERS)))
    return Scene(tuple(walk))


def write(scene: Scene) -> Document:
    draft = Draft()
    stack = _open_after(scene.walk)
    depth = 0
    for i, bracket in enumerate(scene.walk):
        depth += bracket in OPENERS
        kind = "bracket.open" if bracket in OPENERS else "bracket.close"
        draft.put(bracket, kind, *(("bracket.deep",) if depth >= 2 else ()), role="opener" if i == stack[-1] else "")
        depth -= bracket in _CLOSERS
    draft.say("close")
    for k, i in enumerate(reversed(stack)):
        deep = ("bracket.deep",) if len(stack) - k >= 2 else ()
        draft.ask(OPENERS[scene.walk[i]], "bracket.close", *deep, asked=k == 0)
    return draft.ask("end", asked=False).done()


def alter(scene: Scene, random: np.random.Generator) -> Scene:
    walk = list(scene.walk)
    last = _open_after(scene.walk)[-1]
    walk[last] = other(random, tuple(OPENERS), walk[last])
    return replace(scene, walk=tuple(walk))


BEHAVIOUR = Behaviour(
    "brackets",
    "Which bracket closes the innermost open one; in the counterfactual that one is of another kind.",
    sample,
    write,
    alter,
    properties=("bracket.open", "bracket.close", "bracket.deep"),
    weight=1.5,
)

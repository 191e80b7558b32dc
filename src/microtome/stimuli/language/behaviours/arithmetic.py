"""Two-digit addition, digit by digit: "2 7 + 3 5 = 6" -> 2. The tens digit comes first, so it needs the carry of the units."""

from dataclasses import dataclass

import numpy as np

from microtome.stimuli.language.behaviour import Behaviour
from microtome.stimuli.language.document import Document, Draft

_ROLES = ("tens_1", "units_1", "tens_2", "units_2")


@dataclass(frozen=True)
class Sum:
    a: int
    b: int
    units: bool


def sample(random: np.random.Generator) -> Sum:
    total = int(random.random() * 100)
    a = int(random.random() * (total + 1))
    return Sum(a, total - a, random.random() < 0.5)


def write(scene: Sum) -> Document:
    a, b, total = (f"{x:02d}" for x in (scene.a, scene.b, scene.a + scene.b))
    carry = scene.a % 10 + scene.b % 10 >= 10
    draft = Draft().put(a[0], role=_ROLES[0]).put(a[1], role=_ROLES[1]).say("+")
    draft.put(b[0], role=_ROLES[2]).put(b[1], role=_ROLES[3]).put("=", *(("sum.carry",) if carry else ()), role="equals")
    draft.ask(total[0], "sum.tens", asked=not scene.units).ask(total[1], "sum.units", asked=scene.units)
    return draft.say(".").done()


def alter(scene: Sum, random: np.random.Generator) -> Sum:
    new = sample(random)
    return Sum(new.a, new.b, scene.units)


BEHAVIOUR = Behaviour(
    "arithmetic",
    "A digit of the sum of two numbers below 100; the counterfactual adds two other numbers.",
    sample,
    write,
    alter,
    properties=("sum.carry", "sum.tens", "sum.units"),
    repeat=(2, 4),
    weight=3.0,
)

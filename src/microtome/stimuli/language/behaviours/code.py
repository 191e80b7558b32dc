"""Two toy programming languages: "x = 3 ; y = 7 ; print ( y ) >" -> 7 and "( set x 3 ) ( set y 7 ) ( show y ) >" -> 7.

Both can also list: "print : y" -> 7 and "( show : y" -> 7.
"""

from dataclasses import dataclass, replace

import numpy as np

from microtome.stimuli.language.behaviour import Behaviour, draw, few, other, questions
from microtome.stimuli.language.document import Document, Draft
from microtome.stimuli.language.lexicon import DIGITS, VARIABLES


@dataclass(frozen=True)
class Program:
    lisp: bool
    listed: bool
    names: tuple[str, ...]
    values: tuple[str, ...]
    asked: int


def sample(random: np.random.Generator) -> Program:
    k = few(random)
    values = tuple(draw(random, DIGITS, k))
    lisp, listed = random.random() < 0.5, random.random() < 0.5
    return Program(lisp, listed, tuple(draw(random, VARIABLES, k)), values, int(random.random() * k))


def write(program: Program) -> Document:
    draft = Draft()
    variable = ("letter", "code.variable")
    for i, (name, value) in enumerate(zip(program.names, program.values)):
        asked = i == program.asked
        draft.say("( set" if program.lisp else "").put(name, *variable, role="variable" if asked else "")
        draft.say("" if program.lisp else "=").put(value, "code.value", role="value" if asked else "")
        draft.say(")" if program.lisp else ";")
    call = "( show" if program.lisp else "print" if program.listed else "print ("
    for i in questions(program.asked, program.names):
        asked = i == program.asked
        draft.say(call if asked or not program.listed else "").say((":" if asked else ",") if program.listed else "")
        draft.put(program.names[i], *variable, role="asked" if asked else "").say("" if program.listed else ") >")
        draft.ask(program.values[i], "code.value", asked=asked).say("" if program.listed else ".")
    draft.say(")" if program.listed and program.lisp else "")
    draft.mark("code.lisp" if program.lisp else "code.script", 0).mark("code", 0)
    return draft.done({"code": "lisp" if program.lisp else "script"})


def alter(program: Program, random: np.random.Generator) -> Program:
    swapped = other(random, range(len(program.names)), program.asked)
    values = list(program.values)
    values[program.asked], values[swapped] = values[swapped], values[program.asked]
    return replace(program, values=tuple(values))


BEHAVIOUR = Behaviour(
    "code",
    "The value of a variable, in two toy languages; in the counterfactual two values are swapped.",
    sample,
    write,
    alter,
    properties=("code", "code.lisp", "code.script", "code.variable", "code.value", "letter"),
    weight=1.5,
)

"""The stages of a study, in order: each takes the context and gives one section of the report."""

from collections.abc import Callable

from microtome.study.blocks import Section
from microtome.study.context import Context
from microtome.study.stages.ability import ability
from microtome.study.stages.attribution import attribution
from microtome.study.stages.circuit import circuit
from microtome.study.stages.dictionary import dictionary
from microtome.study.stages.reading import reading
from microtome.study.stages.twins import twins
from microtome.study.stages.units import units
from microtome.study.stages.words import words

Stage = Callable[[Context], Section]
STAGES: dict[str, Stage] = {
    "twins": twins,
    "ability": ability,
    "units": units,
    "words": words,
    "dictionary": dictionary,
    "reading": reading,
    "attribution": attribution,
    "circuit": circuit,
}

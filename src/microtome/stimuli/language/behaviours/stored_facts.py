"""Stored facts: "rome is in" -> italy; two hops: "the country where alder lives is" -> italy; true or false claims."""

from dataclasses import dataclass, replace

import numpy as np

from microtome.stimuli.language.behaviour import Behaviour, other, pick
from microtome.stimuli.language.document import Document, Draft
from microtome.stimuli.language.facts import CITIES, COUNTRIES, COUNTRY_OF, HELD_OUT, ONE_HOP, TWO_HOP


@dataclass(frozen=True)
class Fact:
    relation: str
    template: str
    entity: str


def _sampler(relations: dict):
    def sample(random: np.random.Generator) -> Fact:
        relation = pick(random, tuple(relations))
        templates, table = relations[relation]
        entity = pick(random, tuple(table))
        while relation == "person_language" and entity in HELD_OUT:
            entity = pick(random, tuple(table))
        return Fact(relation, pick(random, templates), entity)

    return sample


def _table(relation: str) -> dict[str, str]:
    return {**ONE_HOP, **TWO_HOP}[relation][1]


def write(fact: Fact) -> Document:
    draft = Draft()
    for word in fact.template.split():
        if word == "{0}":
            draft.put(fact.entity, "fact.entity", role="entity")
        else:
            draft.say(word)
    return draft.ask(_table(fact.relation)[fact.entity], "fact.answer").say(".").done()


def alter(fact: Fact, random: np.random.Generator) -> Fact:
    table = _table(fact.relation)
    while table[entity := pick(random, tuple(table))] == table[fact.entity] or entity in HELD_OUT:
        pass
    return replace(fact, entity=entity)


@dataclass(frozen=True)
class Claim:
    city: str
    said: str


def sample_claim(random: np.random.Generator) -> Claim:
    city = pick(random, CITIES)
    return Claim(city, COUNTRY_OF[city] if random.random() < 0.5 else _false(random, city))


def _false(random: np.random.Generator, city: str) -> str:
    return other(random, tuple(COUNTRIES), COUNTRY_OF[city])


def write_claim(claim: Claim) -> Document:
    true = COUNTRY_OF[claim.city] == claim.said
    draft = Draft().say("claim :").put(claim.city, "fact.entity", role="entity").say("is in")
    draft.put(claim.said, "claim.true" if true else "claim.false", role="said").say(". this is")
    return draft.ask("true" if true else "false").say(".").done({"truth": true})


def alter_claim(claim: Claim, random: np.random.Generator) -> Claim:
    truth = COUNTRY_OF[claim.city]
    return replace(claim, said=_false(random, claim.city) if claim.said == truth else truth)


_FACT = ("fact.entity", "fact.answer")
BEHAVIOUR = Behaviour(
    "facts", "Complete a stored fact.", _sampler(ONE_HOP), write, alter, properties=_FACT, repeat=(2, 4), weight=1.2
)
TWO_HOPS = Behaviour(
    "two_hop",
    "Complete a fact that follows from two stored ones.",
    _sampler(TWO_HOP),
    write,
    alter,
    properties=_FACT,
    repeat=(2, 4),
    weight=1.2,
)
TRUTH = Behaviour(
    "truth",
    "Is a claim about a stored fact true or false.",
    sample_claim,
    write_claim,
    alter_claim,
    properties=("fact.entity", "claim.true", "claim.false"),
    repeat=(2, 3),
    weight=2.0,
)

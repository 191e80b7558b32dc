"""The language world: no seed gives a degenerate scene, and what it says about its words is so."""

import numpy as np
import pytest

from microtome.errors import UsageError
from microtome.rng import rng
from microtome.stimuli.language import BEHAVIOURS, behaviour, corpus, properties, task, tasks, vocabulary
from microtome.stimuli.language.facts import CITY_OF, COUNTRY_OF, HELD_OUT, ONE_HOP, TWO_HOP
from microtome.stimuli.language.lexicon import COLOURS, FEMALE, LETTERS, LEXICAL, MALE, OBJECTS, OCCUPATIONS, PLURALS, VELAN
from microtome.stimuli.language.world import documents, spans

SEEDS = 500
WORDS = set(vocabulary())


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_no_seed_gives_a_degenerate_document(name):
    for seed in range(SEEDS):
        document = BEHAVIOURS[name].document(rng(seed, "test"))
        n = len(document.words)
        assert 3 < n <= 60
        assert set(document.words) <= WORDS
        assert all(word and " " not in word for word in document.words)
        assert all(0 <= start < end <= n for _, start, end in document.spans)
        assert all(0 < i < n for i in document.answers)
        assert all(0 <= i < n for i in document.roles.values())
        assert document.asked in (-1, *document.answers)
        assert (document.asked >= 0) == (BEHAVIOURS[name].alter is not None)


@pytest.mark.parametrize("name", tasks())
def test_no_seed_gives_a_degenerate_prompt(name):
    for seed in range(SEEDS):
        p = BEHAVIOURS[name].prompt(rng(seed, "test"))
        assert len(p.clean) == len(p.corrupt) > 1
        assert p.clean != p.corrupt
        assert p.answer in p.accepts
        assert p.wrong not in p.accepts
        assert {p.answer, p.wrong, *p.accepts, *p.clean, *p.corrupt} <= WORDS
        assert all(0 <= i < len(p.clean) for i in p.roles.values())


@pytest.mark.parametrize("name", tasks())
def test_tasks_are_seeded_and_well_formed(name):
    t = task(name, 40, seed=2)
    assert t.fingerprint() == task(name, 40, seed=2).fingerprint() != task(name, 40, seed=3).fingerprint()
    assert [len(c.split()) for c in t.clean] == [len(c.split()) for c in t.corrupt]
    for role, places in t.roles.items():
        for text, place in zip(t.clean, places):
            if place:
                assert text[place[0] : place[1]] in WORDS, role
                assert (place[0] == 0 or text[place[0] - 1] == " ")
                assert text[place[1] : place[1] + 1] in ("", " ")
    assert all(text[slice(*end)] == text.split()[-1] for text, end in zip(t.clean, t.roles["end"]))


def test_spans_point_at_the_right_words():
    world = corpus(400, seed=7)
    classes = {**LEXICAL}
    marked = {name: set() for name in world.properties}
    for sample, start, end, name in world.spans.itertuples(index=False):
        marked[name].add((sample, start, end))
    for name, words in classes.items():
        where = set()
        for i, text in enumerate(world.inputs):
            at = 0
            for word in text.split(" "):
                if word in words:
                    where.add((i, at, at + len(word)))
                at += len(word) + 1
        assert marked.get(name, set()) == where, name


def test_contextual_spans():
    world = corpus(800, seed=1)
    text = {name: [] for name in world.properties}
    for sample, start, end, name in world.spans.itertuples(index=False):
        text[name].append((world.inputs[sample], world.inputs[sample][start:end], start))
    for whole, word, start in text["ioi.answer"]:
        assert whole.split().count(word) == 2
        assert whole[:start].endswith("to ")
    for whole, word, _ in text["ioi.subject"]:
        assert whole.split().count(word) == 2
        assert word in LEXICAL["name"]
    for whole, word, start in text["induction.repeated"]:
        assert word in whole[:start].split()
    for whole, word, start in text["claim.false"]:
        entity = whole[:start].split()[-3]
        assert {**CITY_OF, **COUNTRY_OF}[entity] != word
    for whole, word, start in text["bracket.deep"]:
        before = whole[:start].split()
        depth = sum(b in "([{" for b in before) - sum(b in ")]}" for b in before)
        assert depth + (word in "([{") >= 2
    for whole, _, start in text["year.end"]:
        here = whole[:start].split()
        years = [w for w in [*here, whole[start : start + 2]] if w in LEXICAL["number.two_digit"]][-4:]
        assert whole[start : start + 2] == years[3] > years[1]
        assert years[0] == years[2]
    for _, phrase, _ in text["language.velan"]:
        assert set(phrase.split()) <= set(VELAN.values())
    for whole, word, start in text["agreement.head"]:
        assert whole[:start].endswith("the ")
        assert word in {*PLURALS, *PLURALS.values()}


def test_every_property_occurs_and_is_declared():
    assert set(corpus(1500).properties) == set(properties())
    assert len(properties()) >= 30


def test_corpus_is_seeded():
    assert corpus(60, 3).fingerprint() == corpus(60, 3).fingerprint() != corpus(60, 4).fingerprint()
    assert len(corpus(0)) == 0
    assert corpus(80, 3)[:60].inputs == [d.text for _, d in list(documents(80, 3))[:60]]


def test_labels_are_those_of_the_text():
    world = corpus(800, seed=5)
    for _, row in world.table.assign(text=world.inputs).iterrows():
        if row.topic is not None:
            assert row.text.endswith(f"topic : {row.topic} .")
        if row.toxic is not None:
            assert (" toxic " in f" {row.text} ") >= row.toxic
        if row.sentiment is not None:
            assert row.text.endswith(f"verdict : {row.sentiment} .")
    assert set(world.table.behaviour) == set(BEHAVIOURS)


def solve(name, words):
    """What a reader who only knows the rule would answer: written without the generators."""
    if name == "ioi":
        named = [w for w in words if w in LEXICAL["name"]]
        return next(w for w in named if named.count(w) == 1)
    if name == "induction":
        return words[words.index(words[-1]) + 1]
    if name == "coloured_objects":
        thing = words[-2] if words[-1] == "?" else words[-1]
        i = words.index(thing)
        return words[i + 2] if words[i + 1] == "is" else words[i - 1]
    if name == "entity_binding":
        return words[words.index(words[-3]) - 4]
    if name == "arithmetic":
        a, b = int(words[0] + words[1]), int(words[3] + words[4])
        return f"{a + b:02d}"[len(words) - 6]
    if name == "code":
        i = words.index(words[-1] if ":" in words else words[-3])
        return words[i + 1] if "set" in words else words[i + 2]
    if name == "brackets":
        stack = []
        for bracket in words[:-1]:
            stack.append(bracket) if bracket in "([{" else stack.pop()
        return {"(": ")", "[": "]", "{": "}"}[stack[-1]]
    if name == "pronoun":
        occupation = words[words.index(".") + 2]
        return "she" if words[words.index(occupation) - 3] in LEXICAL["name.female"] else "he"
    if name == "sentiment":
        i = next(i for i, w in enumerate(words) if w in LEXICAL["sentiment.positive"] + LEXICAL["sentiment.negative"])
        good = (words[i] in LEXICAL["sentiment.positive"]) != (words[i - 1] == "not")
        return "positive" if good else "negative"
    if name == "translation":
        if words[0] == "the" and words[1] == "word":
            return VELAN[words[2]]
        english, velan = " ".join(words).split(" . velan :")
        return VELAN[english.split()[2 + len(velan.split())]]
    if name == "truth":
        said = {**CITY_OF, **COUNTRY_OF}[words[2]] == words[words.index("in") + 1]
        return "true" if said else "false"
    return None


@pytest.mark.parametrize("name", ["ioi", "induction", "coloured_objects", "entity_binding", "arithmetic", "code",
                                  "brackets", "pronoun", "sentiment", "translation", "truth"])  # fmt: skip
def test_an_independent_reader_agrees(name):
    t = task(name, 200, seed=11)
    for text, answer in zip(t.clean, t.answers):
        assert solve(name, text.split()) == answer, text
    for text, wrong in zip(t.corrupt, t.wrong):
        assert solve(name, text.split()) == wrong, text


def test_stereotypes_have_their_shares():
    said = {occupation: [] for occupation in OCCUPATIONS}
    random = rng(0, "test stereotypes")
    for _ in range(4000):
        words = BEHAVIOURS["occupation"].document(random).words
        for i, word in enumerate(words):
            if word in said:
                said[word].append(words[i + 3] == "she")
    for occupation, share in OCCUPATIONS.items():
        n = len(said[occupation])
        assert abs(np.mean(said[occupation]) - share) < 4 * np.sqrt(share * (1 - share) / n), occupation


@pytest.mark.parametrize(("name", "classes"), [("pronoun", (FEMALE, MALE, tuple(OCCUPATIONS))),
                                               ("entity_binding", (OBJECTS, LETTERS)),
                                               ("coloured_objects", (OBJECTS, COLOURS))])  # fmt: skip
def test_a_narrowed_behaviour_draws_from_the_first_words_only(name, classes):
    narrow = BEHAVIOURS[name].narrowed(4)
    said = {w for seed in range(SEEDS) for w in narrow.document(rng(seed, "narrow")).words} - {"a"}
    for words in classes:
        assert set(words) & said == set(words[:4]) - {"a"}
    shown = [d.words for found, d in documents(200, 3, {name: 20.0}, {name: 4}) if found == name]
    assert len(shown) > 50
    assert all(set(words) <= said | {"a"} for words in shown)
    assert [d for _, d in documents(50, 3, words={})] == [d for _, d in documents(50, 3)]


def test_narrowing_is_refused_where_it_cannot_be():
    with pytest.raises(UsageError, match="all of its words"):
        BEHAVIOURS["induction"].narrowed(4)
    with pytest.raises(UsageError, match="no behaviour"):
        next(documents(1, words={"pronouns": 4}))
    with pytest.raises(UsageError, match="more words"):
        BEHAVIOURS["pronoun"].narrowed(1).document(rng(0))


def test_held_out_people_are_never_said_to_speak():
    for _, document in documents(5000, seed=0):
        for person in HELD_OUT:
            assert f"{person} speaks" not in document.text
    assert all(person in TWO_HOP["person_language"][1] for person in HELD_OUT)
    assert all(len(set(table.values())) > 2 for _, table in {**ONE_HOP, **TWO_HOP}.values())


def test_vocabulary_is_closed_and_separable():
    words = vocabulary()
    assert 700 <= len(words) <= 1200
    assert words == sorted(set(words))
    assert {w for _, d in documents(3000, seed=123) for w in d.words} <= set(words)
    english = {w for name, ws in LEXICAL.items() if not name.startswith("velan") for w in ws}
    assert not english & set(VELAN.values())
    assert not set(LEXICAL["name.female"]) & set(LEXICAL["name.male"])


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="Did you mean 'greater_than'"):
        behaviour("greater_then")
    with pytest.raises(UsageError, match="only shown"):
        task("languages")
    assert BEHAVIOURS["languages"].task(3) is None
    with pytest.raises(UsageError, match="no task"):
        BEHAVIOURS["languages"].prompts(1)


def test_spans_of_nothing():
    assert len(spans([])) == 0

"""Predicates: words and back, JSON and back, and truth against slow loops over tokens."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome.describe import Atom, Both, parse, words
from microtome.describe.atoms import mine
from microtome.describe.predicates import ANY, OFFSETS, OPERATORS, RECENT, from_tree, join
from microtome.describe.rows import Rows
from microtome.describe.search import beam, correlations, standardised
from microtome.describe.sets import token_sets
from microtome.describe.texts import SHAPES, readable
from microtome.errors import FormatError, UsageError
from microtome.rng import rng
from microtome.subject.recording import Recording

tricky = st.sampled_from([" and not ", '"', "\\", ")", " or (", "\n"])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | tricky
some = st.lists(texts, min_size=1, max_size=3).map(tuple)
offsets = st.sampled_from(OFFSETS)
atoms = st.one_of(
    st.builds(Atom, st.sampled_from(["token", "word", "ending"]), some, offsets),
    st.builds(Atom, st.just("shape"), st.lists(st.sampled_from(sorted(SHAPES)), min_size=1, max_size=3).map(tuple), offsets),
    st.builds(Atom, st.sampled_from(["recent", "earlier"]), some),
    st.builds(Atom, st.sampled_from(["any", "seen", "pair"])),
    st.builds(Atom, st.just("inside"), st.sampled_from([("brackets",), ("quotes",)])),
    st.builds(Atom, st.just("position"), st.tuples(st.integers(-9, 99))),
    st.builds(Atom, st.just("place"), st.tuples(st.sampled_from("yx"), st.sampled_from(["below", "from"]), st.integers(0, 9))),
    st.builds(Atom, st.just("tag"), st.tuples(texts, texts)),
    st.builds(Atom, st.just("label"), st.tuples(texts)),
)
predicates = st.recursive(atoms, lambda inner: st.builds(Both, st.sampled_from(OPERATORS), inner, inner), max_leaves=6)


@settings(deadline=None, max_examples=300)
@given(predicates)
def test_words_and_json_give_the_predicate_back(predicate):
    assert parse(words(predicate)) == predicate == from_tree(predicate.to_tree())


@settings(deadline=None, max_examples=200)
@given(predicates, st.integers(0, 400), texts)
def test_damaged_words_are_refused_or_mean_what_they_say(predicate, at, noise):
    """A changed sentence is refused, or is the sentence of what it parses to."""
    text = words(predicate)
    damaged = text[: at % (len(text) + 1)] + noise + text[at % (len(text) + 1) :]
    try:
        found = parse(damaged)
    except FormatError:
        return
    assert parse(words(found)) == found


def test_bad_sentences_name_the_place():
    bad = ["", "the token is", 'the token is "a" and', "(any row", "any row)", "any row and any row and any row", "x is near 3"]
    for text in bad:
        with pytest.raises(FormatError, match="no predicate is read"):
            parse(text)
    with pytest.raises(FormatError, match="deep"):
        parse("(" * 99 + "any row" + ")" * 99)
    with pytest.raises(FormatError, match="JSON"):
        parse('the token is "\\x"')
    deep = {"kind": "any", "values": []}
    for _ in range(40):
        deep = {"and": [deep, deep]}
    for tree in (deep, [], {"xor": [1, 2]}, {"kind": "tokn", "values": []}, {"kind": "token", "values": [3]}, {"and": [{}]}):
        with pytest.raises(FormatError):
            from_tree(tree)


def test_atoms_are_checked():
    for kind, values, offset in [
        ("tokens", (), 0), ("token", (), 0), ("token", ("a",), 2), ("seen", (), -1), ("position", ("3",), 0),
        ("shape", ("round",), 0), ("place", ("z", "below", 3), 0), ("inside", ("walls",), 0), ("token", (1,), 0),
    ]:  # fmt: skip
        with pytest.raises(UsageError):
            Atom(kind, values, offset)


TEXT = ['the', ' cat', '(', ' "', 'Cat', ')', '"', ' 3', '.', ' the', 'ing', ' running', '<s>', '\n', ' UP', ' [']


def _rows(seed, documents=6, length=30):
    """Rows of random documents, some positions not recorded."""
    draw = rng(seed, "predicate rows")
    sample, position = np.repeat(np.arange(documents), length), np.tile(np.arange(length), documents)
    keep = np.sort(draw.permutation(len(sample))[: len(sample) * 9 // 10])
    index = {"sample": sample[keep], "position": position[keep], "token": draw.integers(0, len(TEXT), len(keep))}
    recording = Recording.of(draw.normal(size=(len(keep), 2)), index=index, labels={"odd": position[keep] % 2 == 1})
    return Rows.of(recording, TEXT), [TEXT[i] for i in index["token"]], recording


def _slow(atom, rows, tokens, i):
    """Whether an atom holds on row i, by looking at tokens one after the other."""
    place = {(s, p): t for s, p, t in zip(rows.sample, rows.position, tokens)}
    here, value = (rows.sample[i], rows.position[i]), atom.values
    before = [tokens[j] for j in range(i) if rows.sample[j] == here[0]]
    token = place.get((here[0], here[1] + atom.offset))
    if atom.kind in ("token", "word", "ending", "shape"):
        if token is None:
            return False
        bare = token.strip().lower()
        if atom.kind == "shape":
            return {
                "digit": any(c.isdigit() for c in token), "capital": token.strip()[:1].isupper(),
                "capitals": token == " UP", "punctuation": token.strip() in '(")."[' and bool(token.strip()),
                "whitespace": token == "\n", "start": token.startswith(" "), "special": token == "<s>",
            }[value[0]]  # fmt: skip
        tests = {"token": token in value, "word": bare in value, "ending": any(bare.endswith(v) and bare != v for v in value)}
        return tests[atom.kind]
    if atom.kind == "recent":
        return any(place.get((here[0], here[1] - k)) in value for k in range(1, RECENT + 1))
    if atom.kind == "earlier":
        return any(t in value for t in before)
    if atom.kind == "seen":
        return tokens[i] in before
    if atom.kind == "pair":
        places = [p for s, p in place if s == here[0] and p < here[1]]
        now = (place.get((here[0], here[1] - 1)), tokens[i])
        return now[0] is not None and any((place.get((here[0], p - 1)), place[here[0], p]) == now for p in places)
    if atom.kind == "inside" and value == ("quotes",):
        return "".join(before).count('"') % 2 == 1
    if atom.kind == "inside":
        depth = 0
        for c in "".join(before):
            depth = depth + 1 if c in "([{" else max(0, depth - 1) if c in ")]}" else depth
        return depth > 0
    if atom.kind == "position":
        return here[1] < value[0]
    return atom.kind == "any" or bool(rows.labels[value[0]][i])


@pytest.mark.parametrize("seed", [0, 1])
def test_atoms_hold_where_a_slow_oracle_says(seed):
    rows, tokens, _ = _rows(seed)
    tried = [Atom("token", (t,), o) for t in ("the", " cat", "nowhere") for o in OFFSETS]
    tried += [Atom("shape", (s,), o) for s in SHAPES for o in (0, -1)]
    tried += [Atom("word", ("cat",)), Atom("ending", ("ing", "t")), Atom("recent", (" cat", "(")), Atom("earlier", ("<s>",))]
    tried += [Atom("seen"), Atom("pair"), Atom("inside", ("quotes",)), Atom("inside", ("brackets",)), Atom("position", (7,))]
    tried += [ANY, Atom("label", ("odd",))]
    for atom in tried:
        slow = np.array([_slow(atom, rows, tokens, i) for i in range(len(rows))])
        assert (atom.holds(rows) == slow).all(), str(atom)


def test_mined_atoms_are_columns_of_their_truth():
    """Each column of the matrix is what the atom says, frequent enough, and counted on training rows only."""
    rows, _, _ = _rows(2)
    train = np.flatnonzero(rows.sample < 4)
    mined = mine(rows, train)
    assert len({*mined.atoms}) == len(mined.atoms) > 60
    for i, atom in enumerate(mined.atoms):
        assert (mined.column(i) == atom.holds(rows)[train]).all(), str(atom)
        assert 5 <= mined.column(i).sum() <= len(train) - 5
    kinds = {"token", "word", "ending", "shape", "recent", "seen", "inside", "position", "label"}
    assert {a.kind for a in mined.atoms} >= kinds


def test_correlations_and_sets_are_exact():
    """Atoms against numpy's correlation; the best token set against all sets of tokens."""
    from itertools import combinations

    rows, _, recording = _rows(3)
    train = np.arange(len(rows))
    unit = standardised(recording.matrix().numpy())
    mined = mine(rows, train)
    r = correlations(mined.matrix, unit)
    for i in range(0, len(mined.atoms), 7):
        expected = [np.corrcoef(mined.column(i), unit[:, u])[0, 1] for u in range(2)]
        np.testing.assert_allclose(r[i], expected, atol=1e-5)
    found = token_sets(rows, train, unit, 0, 0.01)
    names = [t for t in rows.texts if Atom("token", (t,)).holds(rows).sum() >= 5]
    for u in range(2):
        truth = found.atom(u).holds(rows)
        score = np.corrcoef(truth, unit[:, u])[0, 1] - 0.01 * len(found.atom(u).values)
        every = [s for k in (1, 2, 3) for s in combinations(names, k)]
        best = max(np.corrcoef(Atom("token", s).holds(rows), unit[:, u])[0, 1] - 0.01 * len(s) for s in every)
        # Means are shrunk towards 0 so that rare tokens need evidence, which may cost a little of the optimum.
        assert score >= best - 0.02


def test_beam_finds_what_a_brute_search_finds():
    """Length 2 over all pairs of atoms: the beam's objective is the best one."""
    rows, _, _ = _rows(4)
    train = np.arange(len(rows))
    mined = mine(rows, train)
    draw = rng(0, "beam")
    chosen = [Atom("token", (" cat",), -1), Atom("shape", ("start",))]
    truth = chosen[0].holds(rows) & ~chosen[1].holds(rows)
    unit = standardised((truth * 2 + 0.5 * draw.normal(size=len(rows)))[:, None])
    found = beam(mined, correlations(mined.matrix, unit)[:, 0], unit[:, 0], {}, 2)
    held = found.predicate.holds(rows)
    assert found.correlation == pytest.approx(np.corrcoef(held, unit[:, 0])[0, 1], abs=1e-5)
    columns = mined.matrix.toarray() > 0
    price = (found.correlation - found.objective) / found.predicate.literals
    best = -1.0
    for i in range(columns.shape[1]):
        left = columns[:, [i]]
        for pairs in (left & columns, left | columns, left & ~columns):
            count = pairs.sum(0)
            share = count / len(rows)
            spread = np.sqrt(np.clip(share * (1 - share), 1e-9, None))
            ok = (count >= 5) & (len(rows) - count >= 5)
            best = max(best, float(np.where(ok, (pairs * unit).mean(0) / spread, -1).max()) - 2 * price)
    assert found.objective >= best - 1e-5
    assert (held == truth).mean() > 0.97


def test_sets_are_joined_into_sets():
    a, b, c = Atom("token", ("a",)), Atom("token", ("b",)), Atom("token", ("c",), -1)
    assert join("or", a, b) == Atom("token", ("a", "b"))
    assert join("or", a, c) == Both("or", a, c)
    assert join("or", Both("or", c, a), b) == Both("or", c, Atom("token", ("a", "b")))
    assert join("and", a, b) == Both("and", a, b)


def test_marks_of_tokenizers_become_spaces():
    assert readable(["▁the", "Ġthe", "the", "<0x0A>", "Ċ", "<s>"]) == [" the", " the", "the", "\n", "\n", "<s>"]
    assert readable(["run", "##ning", "[CLS]"]) == [" run", "ning", "[CLS]"]

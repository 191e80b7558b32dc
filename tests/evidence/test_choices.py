"""Matched random sets, registered hypotheses, and the dead-salmon test."""

import dataclasses
import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome.errors import Degenerate, FormatError, IntegrityError, NonFinite, ShapeError, UsageError
from microtome.evidence import (
    Estimate,
    Finding,
    Hypothesis,
    Null,
    Provenance,
    WeakNull,
    best_of_k,
    matched_random,
    salmon_finding,
    salmon_test,
)
from microtome.evidence.salmon import largest_statistic


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.integers(0, 3), min_size=4, max_size=60), st.integers(0, 100), st.booleans())
def test_matched_sets_keep_strata_and_avoid_the_chosen(strata, seed, disjoint):
    strata = np.array(strata)
    g = np.random.default_rng(seed)
    chosen = np.concatenate([np.flatnonzero(strata == s)[: (strata == s).sum() // 2] for s in range(4)])
    if len(chosen) == 0:
        return
    sets = matched_random(g.permutation(chosen), strata, draws=8, disjoint=disjoint, seed=seed)
    for drawn in sets:
        assert len(set(drawn)) == len(chosen)
        assert (np.bincount(strata[drawn], minlength=4) == np.bincount(strata[chosen], minlength=4)).all()
        assert (np.diff(drawn) > 0).all()
        if disjoint:
            assert not set(drawn) & set(chosen)


def test_matched_sets_are_uniform():
    sets = np.array(matched_random([0, 5], ["a"] * 5 + ["b"] * 4, draws=6000))
    counts = np.bincount(sets.ravel(), minlength=9) / 6000
    np.testing.assert_allclose(counts, [0, 0.25, 0.25, 0.25, 0.25, 0, 1 / 3, 1 / 3, 1 / 3], atol=0.03)


@pytest.mark.parametrize(("chosen", "strata", "error", "words"), [
    ([0, 1, 2], [0, 0, 0, 0], Degenerate, "coarser strata"),
    ([], [0, 0], Degenerate, "empty"),
    ([0, 0], [0, 0, 0], UsageError, "distinct"),
    ([-1], [0, 0], UsageError, "distinct"),
    ([2], [0, 0], UsageError, "distinct"),
    ([0.5], [0, 0], UsageError, "distinct"),
    ([[0]], [0, 0], ShapeError, "list of unit"),
])
def test_matched_refusals(chosen, strata, error, words):
    with pytest.raises(error, match=words):
        matched_random(chosen, strata)


def test_best_of_k_needs_enough_candidates():
    with pytest.raises(Degenerate, match="at least k = 5"):
        best_of_k([1.0, 2.0], 1.0, k=5)


PREDICTION = Hypothesis(
    "Head 3 moves names.", "logit difference", "matched random heads", refuted_by="p > 0.05 on the test half"
)


def test_a_registered_hypothesis_is_supported_or_refuted():
    h = PREDICTION.register()
    assert h.registered
    assert h.test(1.0, np.zeros(99)).verdict == "supported"
    finding = h.test(0.0, np.zeros(99), estimate=Estimate(0.0, -1.0, 1.0), provenance=Provenance(subject="s"))
    assert finding.verdict == "refuted"
    assert finding.hypothesis == h.seal
    assert any("test half" in note for note in finding.notes)
    assert Finding.from_json(finding.to_json()).verdict == "refuted"
    assert h.test(1.0, Null("any words", np.zeros(99), 1.0)).nulls[0].kind == "any words"


@pytest.mark.parametrize("change", [
    {"claim": "Head 4 moves names."}, {"statistic": "log prob"}, {"null": "labels shuffled"}, {"alternative": "less"},
    {"alpha": 0.5}, {"refuted_by": "nothing"}, {"seal": "0" * 32},
])
def test_an_edited_copy_is_refused(change):
    edited = dataclasses.replace(PREDICTION.register(), **change)
    assert not edited.registered
    for use in (lambda: edited.test(1.0, np.zeros(99)), edited.register, lambda: Hypothesis.from_dict(edited.to_dict()),
                lambda: edited.test_data([1.0], [2.0])):
        with pytest.raises(IntegrityError, match="edited after"):
            use()


def test_an_edit_in_place_is_refused():
    h = PREDICTION.register()
    with pytest.raises(dataclasses.FrozenInstanceError):
        h.alpha = 0.5
    object.__setattr__(h, "alpha", 0.5)
    with pytest.raises(IntegrityError):
        h.test(1.0, np.zeros(9))


def test_an_unregistered_hypothesis_is_refused():
    with pytest.raises(UsageError, match="register"):
        PREDICTION.test(1.0, np.zeros(99))


def test_hypothesis_keeps_its_seal_through_json():
    h = PREDICTION.register()
    assert Hypothesis.from_dict(json.loads(json.dumps(h.to_dict()))) == h
    assert h.register() == h
    assert h.hash == PREDICTION.hash == h.seal
    with pytest.raises(FormatError, match="unknown fields"):
        Hypothesis.from_dict({**h.to_dict(), "other": 1})


def test_hypothesis_from_data():
    g = np.random.default_rng(0)
    a, b = g.normal(size=60) + 2, g.normal(size=60)
    for null in ("permutation", "correlation", "circular_shift"):
        h = Hypothesis("c", "s", null, alternative="two-sided").register()
        assert h.test_data(a, b, draws=99).verdict in ("supported", "refuted")
        assert h.test_data(a, a, draws=99).verdict == ("refuted" if null == "permutation" else "supported")
    with pytest.raises(UsageError, match="permutation"):
        PREDICTION.register().test_data(a, b)


def test_hypothesis_refuses_another_null():
    with pytest.raises(UsageError, match="registered is"):
        PREDICTION.register().test(1.0, Null("k", [0.0], 1.0, "less"))
    with pytest.raises(UsageError, match="registered is"):
        PREDICTION.register().test(2.0, Null("k", [0.0], 1.0))
    for bad in ({"claim": " "}, {"alpha": 0.0}, {"alternative": "up"}, {"refuted_by": None}):
        with pytest.raises(UsageError):
            dataclasses.replace(PREDICTION, **bad)


def pipeline(model):
    g = np.random.default_rng(model["seed"])
    return {"effect": g.normal(size=50) + model["effect"], "size": float(g.normal())}


NETWORK = {"seed": 1, "effect": 2.0}


def test_salmon_says_which_statistic_survives():
    starts = {"reinit": 100, "weight_shuffle": 300}
    twins = {kind: [{"seed": s + i, "effect": 0.0} for i in range(60)] for kind, s in starts.items()}
    finding = salmon_test(pipeline, NETWORK, twins, groups=np.repeat(np.arange(10), 5))
    assert finding.verdict == "supported"
    table = finding.table.set_index(["statistic", "null"])
    assert table.loc[("effect", "reinit"), "p"] == pytest.approx(1 / 61)
    assert table.loc["effect", "survives"].all()
    assert not table.loc["size", "survives"].any()
    assert finding.controls["effect"].n == 10
    assert finding.controls["size"].low is None
    assert finding.notes == ()
    assert finding == salmon_test(pipeline, NETWORK, twins, groups=np.repeat(np.arange(10), 5))
    assert Finding.from_json(finding.to_json()) == finding


def test_salmon_takes_twins_one_by_one():
    alive, most = 0, 0

    class Twin:
        def __init__(self, value):
            nonlocal alive, most
            self.value, alive = value, alive + 1
            most = max(most, alive)

        def __del__(self):
            nonlocal alive
            alive -= 1

    salmon_test(lambda m: {"s": m.value}, Twin(5.0), {"reinit": (Twin(float(i % 3)) for i in range(50))})
    assert most <= 4


def test_salmon_of_an_untrained_network_is_not_supported():
    twins = {"reinit": [{"seed": 100 + i, "effect": 0.0} for i in range(60)]}
    assert salmon_test(pipeline, {"seed": 7, "effect": 0.0}, twins).verdict == "not supported"


def test_salmon_must_beat_every_kind_of_null():
    nulls = {"reinit": {"s": np.zeros(60)}, "weight_shuffle": {"s": np.ones(60) * 9}}
    assert salmon_finding({"s": 5.0}, nulls).verdict == "not supported"
    assert salmon_finding({"s": 10.0}, nulls).verdict == "supported"


def test_salmon_warns_when_only_labels_were_permuted():
    with pytest.warns(WeakNull, match="untrained network passes"):
        finding = salmon_finding({"s": 1.0}, {"label_permutation": {"s": np.zeros(60)}})
    assert "untrained network" in finding.notes[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        salmon_finding({"s": 1.0}, {"label_permutation": {"s": np.zeros(60)}, "reinit": {"s": np.zeros(60)}})


@pytest.mark.parametrize("side", ["greater", "less", "two-sided"])
def test_the_largest_statistic_treats_subject_and_twins_alike(side):
    rows = np.random.default_rng(0).exponential(size=(12, 3)) * [1, 10, 100]
    pools = []
    for i in range(12):  # whichever row is called the subject, the same twelve numbers come out
        null = largest_statistic("reinit", rows[i], np.delete(rows, i, axis=0), side)
        pools.append(np.sort([null.observed, *null.statistics]))
    np.testing.assert_allclose(pools, np.tile(pools[0], (12, 1)))


def test_salmon_of_a_constant_statistic_is_not_supported():
    finding = salmon_finding({"a": 1.0, "b": 2.0}, {"reinit": {"a": np.ones(60), "b": 2 * np.ones(60)}})
    assert finding.verdict == "not supported"
    assert (finding.table.p == 1.0).all()


@pytest.mark.parametrize(("observed", "nulls", "error", "words"), [
    ({}, {"reinit": {}}, UsageError, "non-empty"),
    ({"s": np.nan}, {"reinit": {"s": [1.0]}}, NonFinite, "'s' of the subject"),
    ({"s": 1.0}, {}, UsageError, "at least one kind"),
    ({"s": 1.0}, {"reinit": {"s": []}}, Degenerate, "no twin"),
    ({"s": 1.0}, {"reinit": {"t": [1.0]}}, ShapeError, "each of"),
    ({"s": 1.0, "t": 1.0}, {"reinit": {"s": [1.0, 2.0], "t": [1.0]}}, ShapeError, "equally many"),
    ({"s": 1.0}, {"reinit": {"s": [np.inf]}}, NonFinite, "null 'reinit'"),
    ({"s": [[1.0]]}, {"reinit": {"s": [1.0]}}, ShapeError, "number or an array"),
    ({"s": "x"}, {"reinit": {"s": [1.0]}}, UsageError, "numbers"),
])
def test_salmon_refusals(observed, nulls, error, words):
    with pytest.raises(error, match=words):
        salmon_finding(observed, nulls)


def test_salmon_refusals_of_pipelines():
    with pytest.raises(ShapeError, match="reinit twin 1"):
        salmon_test(lambda m: {m: 1.0}, "a", {"reinit": ["a", "b"]})
    with pytest.raises(Degenerate, match="no twin"):
        salmon_test(lambda m: {"s": m}, 1.0, {"reinit": []})
    for twins in ([1.0], {}):
        with pytest.raises(UsageError, match="kind of null"):
            salmon_test(lambda m: {"s": m}, 1.0, twins)
    with pytest.raises(NonFinite, match="reinit twin 0"):
        salmon_test(lambda m: {"s": m}, 1.0, {"reinit": [np.nan]})

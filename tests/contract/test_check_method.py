"""The contract checks catch seeded faults, pass a sound method, and count what they skip."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import faulty
from faulty import DOC, RECORD, sound

from microtome.errors import UsageError
from microtome.method import Paper, method
from microtome.subject.basis import Linear
from microtome.subject.recording import Recording
from microtome.testing import check_method, digest
from microtome.testing.checks import CHECKS
from microtome.testing.counts import fallen, ran

SOUND = check_method(sound())


def test_a_sound_method_passes():
    assert SOUND.ok, str(SOUND)
    assert {o.check for o in SOUND if o.status == "skipped"} <= {"listed", "oracle", "batch", "extra", "gpu"}
    assert SOUND.ran >= 15
    assert SOUND.counts["failed"] == 0
    assert "purity" in str(SOUND)
    assert list(SOUND.table()["check"]) == list(CHECKS)
    assert SOUND.to_json()["counts"] == SOUND.counts


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        (faulty.draws_globally, "seed"),
        (faulty.moves_the_global_generator, "seed"),
        (faulty.uses_the_clock, "seed"),
        (faulty.centres_in_place, "purity"),
        (faulty.turns_gradients_off, "purity"),
        (faulty.swallows_interrupts, "interrupted"),
        (faulty.ignores_nothing, "bad_input"),
        (faulty.raises_untyped, "bad_input"),
        (faulty.finds_nothing, "truth"),
        (faulty.finds_it_always, "null"),
        (faulty.says_so, "save_load"),
        (faulty.returns_a_tensor, "save_load"),
        (faulty.forgets_its_offset, "save_load"),
        (faulty.refuses_no_second_site, "refusals"),
        (faulty.returns_a_tensor, "wrong_subject"),
        (faulty.is_slow, "cost"),
    ],
)
def test_seeded_faults_are_caught(fault, check, monkeypatch):
    import torch

    monkeypatch.setattr("microtome.testing.checks.results.SECONDS", 0.09)
    try:
        report = check_method(sound(fault), only=check)
    finally:
        torch.set_grad_enabled(True)
    assert [o.status for o in report] == ["failed"], str(report)


@pytest.mark.parametrize(
    ("record", "word"),
    [
        ({"claim": " "}, "claim"),
        ({"paper": Paper("Pearson", 19, "t", "https://x.org")}, "paper"),
        ({"paper": Paper("Pearson", 1901, "t", "in the library")}, "paper"),
        ({"gives": "list"}, "gives"),
        ({"tiny": {"ranks": 3}}, "ranks"),
        ({"skips": {"pureness": "it is what it is"}}, "pureness"),
        ({"skips": {"purity": "no"}}, "reason"),
    ],
)
def test_incomplete_records_are_caught(record, word):
    (outcome,) = check_method(sound(**record), only="record")
    assert outcome.status == "failed"
    assert word in outcome.reason


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("Notes\n-----", "Remarks\n-------", "Notes"),
        ("default 4", "default 5", "rank"),
        ("rank : int", "ranks : int", "ranks"),
        ("seed : int, default 0\n    Draws the signs.\n", "", "seed"),
        ("UsageError\n    When rank is below 1.\n", "", "UsageError"),
        ("Null: on", "On", "Null"),
        ("Misleads when", "Careful when", "Misleads"),
        ("variance.\n\n``S", "variance,\nand of smallest.\n\n``S", "sentence"),
    ],
)
def test_untrue_docstrings_are_caught(old, new, word):
    assert old in DOC
    (outcome,) = check_method(sound(doc=DOC.replace(old, new)), only="docstring")
    assert outcome.status == "failed"
    assert word in outcome.reason


def signatures():
    def swallows(recording: Recording, **options: int) -> Linear: ...
    def positional(recording: Recording, a: int, b: int, c: int) -> Linear: ...
    def shared(recording: Recording, *, device: str = "cpu") -> Linear: ...
    def bare(recording, *, rank: int = 4) -> Linear: ...
    def nine(
        recording: Recording, *, a: int = 0, b: int = 0, c: int = 0, d: int = 0, e: int = 0, f: int = 0, g: int = 0,
        h: int = 0, i: int = 0,
    ) -> Linear: ...  # fmt: skip
    def unseeded(recording: Recording, *, seed: int = 1) -> Linear: ...

    return (swallows, positional, shared, bare, nine, unseeded)


@pytest.mark.parametrize("function", signatures(), ids=lambda f: f.__name__)
def test_signatures_outside_the_rules_are_caught(function):
    record = {**RECORD, "stochastic": function.__name__ == "unseeded", "tiny": {}}
    (outcome,) = check_method(method(**record)(function), only="signature")
    assert outcome.status == "failed"


def test_skips_are_counted_with_their_reason():
    (outcome,) = check_method(sound(skips={"truth": "there is no truth about this"}), only="truth")
    assert (outcome.status, outcome.reason) == ("skipped", "there is no truth about this")


def test_lost_checks_are_named():
    committed = {"components": ran(SOUND)}
    assert fallen(committed, [SOUND]) == []
    fewer = check_method(sound(), only=("record", "signature"))
    assert "truth" in fallen(committed, [fewer])[0]
    assert fallen({}, [SOUND]) == ["components: new; commit its counts"]
    assert fallen(committed, []) == ["components: the method is gone"]


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="'purity'"):
        check_method(sound(), only="purty")
    with pytest.raises(UsageError, match="no method record"):
        check_method(print)
    with pytest.raises(UsageError, match="no method 'no_such_method'"):
        check_method("no_such_method")


def test_equal_things_have_equal_digests_and_others_not():
    import numpy as np
    import pandas as pd
    import torch

    def values():
        yield torch.arange(3.0)
        yield torch.arange(3.0).double()
        yield torch.arange(3.0).bfloat16()
        yield np.arange(3)
        yield [0, 1, 2]
        yield {"a": 1, "b": [torch.ones(2)]}
        yield {"a": 1, "b": [torch.zeros(2)]}
        yield pd.DataFrame({"a": ["x", "y"]})
        yield pd.DataFrame({"b": ["x", "y"]})
        yield Linear("x", torch.eye(2))
        yield Linear("y", torch.eye(2))
        yield Paper("a", 1, "b", "c")

    first, second = [digest(v) for v in values()], [digest(v) for v in values()]
    assert first == second
    assert len(set(first)) == len(first)

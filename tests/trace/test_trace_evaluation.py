"""Judging circuits by size: agreement with faithfulness, bounds, denoising, and refusals."""

import numpy as np
import pytest

import microtome as mt
from microtome.errors import SubjectMismatch, UsageError
from microtome.trace import eap, eap_ig, evaluate_circuits, faithfulness

SIZES = (0.05, 0.2, 1.0)


@pytest.fixture(scope="module")
def scored(ioi, task):
    return eap_ig(ioi, task)


def test_evaluate_circuits_equals_faithfulness_of_the_same_circuit(ioi, task, scored):
    held = ioi.organism.examples(12, 5)
    card = evaluate_circuits(ioi, held, scored, sizes=SIZES, random=1, ablations=["corrupt", "mean"]).table
    assert card is not None
    for ablation in ("corrupt", "mean"):
        circuit = scored.circuit(round(0.2 * 193), greedy=True)
        slow = faithfulness(ioi, held, circuit, ablations=[ablation], random=1).estimate
        row = card.query(f"ablation == '{ablation}' and ranking == 'absolute' and size == 0.2").iloc[0]
        assert row.ratio_of_means == pytest.approx(slow.value, abs=1e-4)
        assert row.edges == len(circuit)
        assert row.low <= row.ratio_of_means <= row.high


def test_the_card_holds_every_setting_and_ends_at_one(ioi, task, scored):
    found = evaluate_circuits(ioi, task[:8], scored, sizes=SIZES, random=1, ablations=["corrupt", "zero"],
                              grains=["edge", "node"], directions=["noising", "denoising"])  # fmt: skip
    assert found.table is not None
    assert len(found.table) == 2 * 2 * 2 * 2 * 3
    whole = found.table[found.table["size"] == 1.0]
    assert whole.ratio_of_means.to_numpy() == pytest.approx(1, abs=1e-4)
    assert len(found.controls) == 16


def test_areas_are_trapezoids_and_good_scores_beat_random_rankings(ioi, task, scored):
    found = evaluate_circuits(ioi, task, scored, sizes=SIZES, random=4)
    assert found.table is not None
    assert found.estimate is not None
    rows = found.table.query("ranking == 'absolute'").sort_values("size")
    assert found.estimate.value == pytest.approx(np.trapezoid(np.abs(1 - rows.ratio_of_means), SIZES), abs=1e-6)
    assert found.estimate.low is not None
    assert found.estimate.high is not None
    assert found.estimate.low <= found.estimate.value <= found.estimate.high
    assert found.estimate.value < found.nulls[0].statistics.min()


def test_refusals(ioi, task, scored, planted):
    with pytest.raises(SubjectMismatch, match="another subject"):
        evaluate_circuits(planted.subject, planted.task, scored)
    for options in ({"sizes": (0.5, 0.1)}, {"sizes": (0.5,)}, {"sizes": (0.1, 2.0)}, {"ablations": "mean"}, {"ablations": []},
                    {"grains": ["head"]}, {"directions": ["up"]}, {"random": 0}):  # fmt: skip
        with pytest.raises(UsageError, match=next(iter(options))):
            evaluate_circuits(ioi, task, scored, **options)
    with pytest.raises(UsageError, match="no metric"):
        evaluate_circuits(ioi, task, scored, metric="logits")


def test_edges_of_two_subjects_do_not_mix(ioi, task):
    other = mt.load("organism:compiled-induction")
    with pytest.raises(SubjectMismatch):
        evaluate_circuits(ioi, task, eap(other, other.organism.examples(8)))

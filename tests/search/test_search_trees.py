"""Trees over units, against plain counting and a planted conjunction."""

import numpy as np
import pytest
import torch

from microtome.errors import Degenerate, UsageError
from microtome.search import unit_trees
from microtome.search.unit_trees import f1
from microtome.subject.recording import Recording


def recording(x, **labels):
    return Recording.of(torch.tensor(x, dtype=torch.float32), site="codes", labels=labels)


@pytest.fixture(scope="module")
def codes():
    return np.maximum(np.random.default_rng(0).normal(size=(600, 8)), 0.0)


def test_f1_of_unit_trees_equals_counting():
    g = np.random.default_rng(1)
    said, truth, weights = g.random(50) < 0.4, g.random((3, 50)) < 0.3, g.integers(0, 3, (3, 50))
    for k in range(3):
        hit = sum(s and t for s, t in zip(said, truth[k]))
        assert f1(said, truth)[k] == pytest.approx(2 * hit / (said.sum() + truth[k].sum()))
        rows = np.repeat(np.arange(50), weights[k])
        assert f1(said, truth[0], weights)[k] == pytest.approx(float(f1(said[rows], truth[0][rows])))
    assert float(f1(np.zeros(4, bool), np.zeros(4, bool))) == 0.0


def test_a_conjunction_needs_both_units_and_says_how_they_stand(codes):
    both = (codes[:, 2] > 0.2) & (codes[:, 5] > 0.3)
    without = (codes[:, 1] > 0.4) & ~(codes[:, 6] > 0.1)
    found = unit_trees(recording(codes, both=both, without=without), seed=3)
    assert found.verdict == "supported"
    table = found.table.set_index(["property", "index"])
    assert sorted(table.loc["both"].index) == [2, 5]
    assert table.loc["both"]["above"].all()
    assert table.loc[("without", 1), "above"]
    assert not table.loc[("without", 6), "above"]
    assert (table["f1"] > 0.95).all()
    assert (table["f1_single"] < 0.85).all()
    assert table.loc[("both", 2), "threshold"] == pytest.approx(0.2, abs=0.05)
    assert table.loc[("both", 2), "value"] == pytest.approx(codes[both, 2].mean(), abs=0.1)
    assert table.loc[("without", 6), "value"] < 0.1
    alone = unit_trees(recording(codes, both=both), depth=1, seed=3).table
    assert len(alone) == 1
    assert alone["f1"].iloc[0] < 0.85


def test_labels_without_units_are_at_chance(codes):
    found = unit_trees(recording(codes, noise=np.random.default_rng(5).random(600) < 0.4), depth=3)
    assert found.nulls[0].p > 0.05


def test_bad_input_is_refused(codes):
    given = recording(codes, red=codes[:, 0] > 0.5)
    with pytest.raises(UsageError, match="no labels"):
        unit_trees(recording(codes))
    with pytest.raises(UsageError, match="red"):
        unit_trees(given, properties=["rde"])
    with pytest.raises(UsageError, match="depth"):
        unit_trees(given, depth=0)
    with pytest.raises(Degenerate, match="none of 1"):
        unit_trees(recording(codes, rare=np.arange(600) == 3))
    with pytest.raises(Degenerate, match="nothing to ask"):
        unit_trees(recording(np.zeros((600, 2)), red=codes[:, 0] > 0.5))

"""Scores of descriptions: against libraries, and the two meta tests that each must pass."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_score

from microtome.describe import detection, fuzzing, per_window, simulation
from microtome.describe.chance import chance
from microtome.describe.heldout import correlation, intervals, thresholds
from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.rng import rng


def _case(seed, rows=10_000):
    draw = rng(seed, "scores")
    active = draw.random(rows) < 0.02
    said = np.where(active, draw.random(rows) < 0.9, draw.random(rows) < 0.003)
    return said, active, np.arange(rows) // 20, draw


SCORES = {
    "balanced accuracy": lambda said, active, window: detection(said, active).balanced_accuracy,
    "F1": lambda said, active, window: detection(said, active).f1,
    "F1 of windows": lambda said, active, window: detection(per_window(said, window), per_window(active, window)).f1,
    "simulation": lambda said, active, window: float(simulation(active.astype(float), said)),
}


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("seed", range(3))
def test_score_falls_when_half_of_the_positives_are_removed(name, seed):
    said, active, window, draw = _case(seed)
    assert SCORES[name](said & (draw.random(len(said)) < 0.5), active, window) < SCORES[name](said, active, window) - 0.03


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("seed", range(3))
def test_score_falls_when_false_positives_are_added(name, seed):
    """Scores that only look at top activations fail this one."""
    said, active, window, draw = _case(seed)
    assert SCORES[name](said | (draw.random(len(said)) < 0.1), active, window) < SCORES[name](said, active, window) - 0.03


@pytest.mark.parametrize("change", ["fewer", "more"])
def test_fuzzing_falls_too(change):
    said, active, window, draw = _case(7)
    worse = said & (draw.random(len(said)) < 0.5) if change == "fewer" else said | (draw.random(len(said)) < 0.5)
    assert fuzzing(worse, active, window).balanced_accuracy < fuzzing(said, active, window).balanced_accuracy - 0.05


def test_detection_against_a_library_oracle():
    said, active, _, _ = _case(1)
    found = detection(said, active)
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(active, said))
    assert found.f1 == pytest.approx(f1_score(active, said))
    assert found.precision == pytest.approx(precision_score(active, said))


def test_balanced_cases_hide_false_alarms():
    """5% false alarms at a true rate of 1 in 1000: accuracy 0.97, precision 2%."""
    said, active = np.r_[np.ones(100), np.ones(5), np.zeros(95)] > 0, np.r_[np.ones(100), np.zeros(100)] > 0
    found = detection(said, active, rate=0.001)
    assert found.balanced_accuracy == 0.975
    assert found.precision == pytest.approx(0.0196, abs=1e-4)


def test_chance_levels():
    draw = rng(0, "chance")
    active, said = draw.random(20_000) < 0.2, draw.random(20_000) < 0.5
    window = np.arange(20_000) // 20
    assert detection(said, active).balanced_accuracy == pytest.approx(0.5, abs=0.02)
    assert fuzzing(said, active, window).balanced_accuracy == pytest.approx(0.5, abs=0.04)
    assert abs(simulation(draw.normal(size=20_000), said)) < 0.03


def test_refusals():
    with pytest.raises(ShapeError, match="one length"):
        detection([1, 0], [1])
    with pytest.raises(Degenerate, match="active"):
        detection([1, 0], [1, 1])
    with pytest.raises(UsageError, match="rate"):
        detection([1, 0], [1, 0], rate=1.5)
    with pytest.raises(Degenerate, match="marked"):
        fuzzing([1, 0], [1, 1], [0, 0])
    with pytest.raises(ShapeError, match="lists"):
        fuzzing([1, 0], [1, 1], [0])
    with pytest.raises(ShapeError, match="shape"):
        simulation([1.0], [1.0, 2.0])
    assert simulation([1.0, 1.0], [0.0, 1.0]) == 0.0


def test_chance_is_the_share_of_draws_above_an_oracle():
    """p of unlinked series is uniform; draws are correlations of values that are in the recording."""
    draw = rng(3, "chance oracle")
    groups = np.repeat(np.arange(20), 25)
    truth = draw.random((500, 200)) < 0.2
    values = draw.normal(size=(500, 200))
    values += np.roll(values, 1, axis=0)
    null = chance(truth, values, groups, 999, 0)
    assert null.thinned.shape == (99, 200)
    assert (np.diff(null.thinned, axis=0) >= 0).all()
    assert abs(null.thinned.mean()) < 0.01
    assert np.abs(np.sqrt((null.thinned**2).mean(0)) - 1 / np.sqrt(500)).max() < 0.01
    assert 0.4 < null.p.mean() < 0.6
    assert 0.04 < (null.p < 0.1).mean() < 0.18
    values[:, 0] += truth[:, 0]
    assert chance(truth, values, groups, 999, 0).p[0] == pytest.approx(1 / 1000)


def test_chance_keeps_differences_between_documents():
    """Statements about whole documents on units that differ between documents only: p stays uniform."""
    draw = rng(4, "documents")
    groups = np.repeat(np.arange(40), 12)
    truth = np.repeat(draw.random((40, 300)) < 0.5, 12, axis=0)
    values = np.repeat(draw.normal(size=(40, 300)), 12, axis=0)
    p = chance(truth, values, groups, 199, 0).p
    assert (p <= 0.05).mean() < 0.09
    assert 0.42 < p.mean() < 0.58


def test_intervals_cover_the_correlation():
    """Over repeated data the interval of a planted correlation of 0.5 covers it in most runs."""
    hits = []
    for seed in range(5):
        draw = rng(seed, "intervals")
        truth = draw.random((600, 30)) < 0.5
        values = (truth - 0.5) * 2 + np.sqrt(3) * draw.normal(size=(600, 30))
        low, high = intervals(truth, values, np.repeat(np.arange(60), 10), seed)
        r = correlation(truth, values)
        assert ((low <= r) & (r <= high)).all()
        hits.append(((low < 0.5) & (high > 0.5)).mean())
    assert 0.88 <= np.mean(hits) <= 1.0


def test_thresholds_maximise_agreement_against_a_brute_search():
    draw = rng(0, "thresholds")
    truth = draw.random((60, 20)) < 0.3
    values = np.round(draw.normal(size=(60, 20)) + truth, 1)  # rounded: with ties
    cut = thresholds(truth, values)
    for u in range(20):
        every = [np.corrcoef(truth[:, u], values[:, u] > t)[0, 1] for t in np.unique(values[:, u])[:-1]]
        assert np.corrcoef(truth[:, u], values[:, u] > cut[u])[0, 1] == pytest.approx(max(every))

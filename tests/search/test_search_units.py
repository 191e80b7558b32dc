"""Selective units against brute force; planted units; split, intervals and null."""

import numpy as np
import pytest
import torch

from microtome.errors import Degenerate, NonFinite, UsageError
from microtome.search import selective_units
from microtome.search.scores import weighted_auroc
from microtome.subject.recording import Recording
from microtome.subject.recording.halves import halves

ROWS, DOCUMENTS = 600, 60


def data(seed=0, effects=(2.0, 2.0, 2.0), d=12):
    g = np.random.default_rng(seed)
    y = g.random((ROWS, 3)) < (0.2, 0.3, 0.1)
    x = np.round(g.normal(size=(ROWS, d)), 1)
    for p, (unit, sign) in enumerate(((3, 1), (7, -1), (10, 1))):
        x[:, unit] += sign * effects[p] * y[:, p]
    index = {"sample": np.arange(ROWS) // (ROWS // DOCUMENTS), "position": np.arange(ROWS) % (ROWS // DOCUMENTS)}
    labels = {name: y[:, p] for p, name in enumerate(("red", "green", "blue"))}
    return Recording.of(torch.tensor(x), site="mlp", index=index, labels=labels), x, y


def pairs(values, labels) -> float:
    """The chance that a row with the property scores above one without, pair by pair."""
    gap = values[labels][:, None] - values[~labels][None, :]
    return float(((gap > 0) + 0.5 * (gap == 0)).mean())


def test_selective_units_equal_brute_force():
    recording, x, y = data(effects=(0.3, 0.3, 0.3))
    chosen, _ = halves(recording, 0.5, 5)
    table = selective_units(recording, top=2, draws=39, seed=5).table
    for p, name in enumerate(("red", "green", "blue")):
        areas = np.array([pairs(x[chosen, u], y[chosen, p]) for u in range(12)])
        best = np.argsort(-np.maximum(areas, 1 - areas), kind="stable")[:2]
        rows = table[table["property"] == name]
        assert rows["unit"].tolist() == [f"mlp[{u}]" for u in best]
        assert rows["sign"].tolist() == [1 if areas[u] >= 0.5 else -1 for u in best]
        for row, u in zip(rows.itertuples(), best):
            held = pairs(row.sign * x[~chosen, u], y[~chosen, p])
            assert row.auroc == pytest.approx(held, abs=1e-12)
            rivals = [pairs(row.sign * x[~chosen, u], y[~chosen, q]) for q in range(3) if q != p]
            assert row.rival_auroc == pytest.approx(max(rivals), abs=1e-12)
            assert row.positives == y[~chosen, p].sum()


def test_selective_units_find_the_planted_ones():
    for seed in range(3):
        recording, _, _ = data(seed)
        found = selective_units(recording, seed=seed)
        lead = found.table.set_index("property")
        assert lead["unit"].to_dict() == {"red": "mlp[3]", "green": "mlp[7]", "blue": "mlp[10]"}
        assert lead["sign"].to_dict() == {"red": 1, "green": -1, "blue": 1}
        assert (lead["specificity"] > 0.2).all()
        assert (lead["low"] <= lead["auroc"]).all()
        assert (lead["auroc"] <= lead["high"]).all()
        assert found.verdict == "supported"


def test_units_of_several_sites_are_named_by_site():
    recording, x, y = data()
    labels = {"red": y[:, 0]}
    two = Recording.of(
        {"a": torch.tensor(x[:, :4]), "b": torch.tensor(x[:, 4:])}, index=recording.index, labels=labels
    )
    assert selective_units(two, draws=19).table["unit"].tolist() == ["a[3]"]


def test_the_null_is_supported_at_its_rate():
    verdicts, p = [], []
    for seed in range(60):
        found = selective_units(data(seed, effects=(0, 0, 0))[0], draws=39, seed=seed)
        verdicts.append(found.verdict == "supported")
        p += found.table["p"].tolist()
    assert np.mean(verdicts) <= 0.13
    assert 0.4 < np.mean(p) < 0.6


def test_bootstrap_weights_equal_repeated_rows():
    g = np.random.default_rng(0)
    scores, labels = np.round(g.normal(size=40), 1), g.random(40) < 0.4
    weights = g.integers(0, 4, size=(10, 40)).astype(float)
    for row, area in zip(weights, weighted_auroc(scores, labels, weights)):
        repeated = np.repeat(np.arange(40), row.astype(int))
        assert area == pytest.approx(pairs(scores[repeated], labels[repeated]))


def test_refusals():
    recording, x, y = data()
    with pytest.raises(UsageError, match="'red'"):
        selective_units(recording, properties=["rde"])
    with pytest.raises(UsageError, match="no labels"):
        selective_units(Recording.of(torch.tensor(x)))
    with pytest.raises(Degenerate, match="none of 1"):
        selective_units(recording.add_labels({"rare": np.arange(ROWS) < 4}), properties=["rare"])
    with pytest.raises(UsageError, match="share"):
        selective_units(recording, share=0.0)
    bad = torch.tensor(x)
    bad[5, 3] = float("nan")
    with pytest.raises(NonFinite):
        selective_units(Recording.of(bad, index=recording.index, labels={"red": y[:, 0]}))

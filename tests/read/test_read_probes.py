"""Probes against scikit-learn, closed forms and planted units; splits by document; nulls."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome.errors import Degenerate, NonFinite, UsageError
from microtome.read import difference_in_means, logistic_probe, probe_test, sparse_probe
from microtome.read.sparse_probe import best_threshold
from microtome.subject.basis import load_basis
from microtome.subject.recording import Recording
from microtome.subject.recording.halves import documents, halves

ROWS, D, DOCUMENTS = 600, 8, 60


def data(seed=0, effect=1.0, rate=0.3, rows=ROWS, d=D) -> tuple[Recording, np.ndarray, np.ndarray]:
    g = np.random.default_rng(seed)
    y = g.random(rows) < rate
    x = g.normal(size=(rows, d)) * np.linspace(0.5, 3, d)
    x[:, 2] += effect * 3 * y
    x[:, 5] -= effect * 2 * y
    index = {"sample": np.arange(rows) // (rows // DOCUMENTS), "position": np.arange(rows) % (rows // DOCUMENTS)}
    return Recording.of(torch.tensor(x), site="mlp", index=index, labels={"red": y}), x, y


def test_no_document_is_on_both_sides():
    recording, _, _ = data()
    for seed in range(5):
        chosen, group = halves(recording, 0.3, seed)
        assert not set(group[chosen]) & set(group[~chosen])
        assert len(set(group[chosen])) == round(0.3 * DOCUMENTS)
    assert not np.array_equal(halves(recording, 0.3, 0)[0], halves(recording, 0.3, 1)[0])


def test_documents_of_a_table_hold_several_samples():
    recording, x, y = data()
    table = pd.DataFrame({"document": [f"d{i // 4}" for i in range(DOCUMENTS)]})
    recording = Recording.of(torch.tensor(x), site="mlp", index=recording.index, table=table, labels={"red": y})
    group = documents(recording)
    assert len(set(group)) == DOCUMENTS // 4
    assert len(set(group[: 4 * ROWS // DOCUMENTS])) == 1
    chosen, _ = halves(recording, 0.5, 0)
    assert not set(group[chosen]) & set(group[~chosen])


def test_halves_refuse_what_cannot_be_split():
    recording, _, _ = data()
    with pytest.raises(UsageError, match="share"):
        halves(recording, 1.0, 0)
    with pytest.raises(Degenerate, match="at least 122"):
        halves(recording, 0.5, 0, fewest=61)
    one = Recording.of(torch.zeros(4, 2), index={"sample": [0] * 4, "position": range(4)})
    with pytest.raises(Degenerate, match="1 document;"):
        halves(one, 0.5, 0)


def test_logistic_probe_equals_its_peer_in_scikit_learn():
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score, roc_auc_score
    from sklearn.preprocessing import StandardScaler

    recording, x, y = data(effect=0.4)
    fit, _ = halves(recording, 0.5, 0)
    scale = StandardScaler().fit(x[fit])
    peer = LogisticRegression(C=1 / 3.0, class_weight="balanced", max_iter=1000, tol=1e-8).fit(scale.transform(x[fit]), y[fit])
    probe = logistic_probe(recording, "red", penalty=3.0)
    odds = peer.decision_function(scale.transform(x[~fit]))
    z = probe.encode(torch.tensor(x[~fit])).numpy()[:, 0]
    norm = np.linalg.norm(peer.coef_[0] / scale.scale_)
    np.testing.assert_allclose(z * norm, odds, atol=2e-3)
    assert probe.metrics["auroc"] == pytest.approx(roc_auc_score(y[~fit], odds), abs=1e-3)
    assert probe.metrics["f1"] == pytest.approx(f1_score(y[~fit], odds > 0), abs=0.01)
    assert probe.metrics["accuracy"] == pytest.approx((y[~fit] == (odds > 0)).mean(), abs=0.01)


def test_difference_in_means_equals_its_closed_form():
    from sklearn.metrics import precision_score, recall_score, roc_auc_score

    recording, x, y = data(effect=0.5)
    fit, _ = halves(recording, 0.3, 4)
    high, low = x[fit][y[fit]].mean(0), x[fit][~y[fit]].mean(0)
    basis = difference_in_means(recording, "red", share=0.3, seed=4)
    expected = (high - low) / np.linalg.norm(high - low)
    np.testing.assert_allclose(basis.directions[0].numpy(), expected, atol=1e-6)
    score = (x[~fit] - (high + low) / 2) @ expected
    np.testing.assert_allclose(basis.encode(torch.tensor(x[~fit])).numpy()[:, 0], score, atol=1e-5)
    assert basis.metrics["auroc"] == pytest.approx(roc_auc_score(y[~fit], score))
    assert basis.metrics["precision"] == pytest.approx(precision_score(y[~fit], score > 0))
    assert basis.metrics["recall"] == pytest.approx(recall_score(y[~fit], score > 0))


@pytest.mark.parametrize("probe", [difference_in_means, logistic_probe, sparse_probe])
def test_a_probe_saves_and_decodes(probe, tmp_path):
    recording, x, _ = data(effect=2.0)
    basis = probe(recording, "red")
    basis.save(tmp_path / "b")
    back = load_basis(tmp_path / "b")
    assert torch.equal(back.encode(torch.tensor(x)), basis.encode(torch.tensor(x)))
    assert (back.metrics, back.names, back.site) == (basis.metrics, ["red"], "mlp")
    z = torch.tensor([[2.0]])
    torch.testing.assert_close(basis.encode(basis.decode(z)), z)


def test_sparse_probe_with_all_units_equals_the_logistic_probe():
    recording, _, _ = data()
    dense, all_units = logistic_probe(recording, "red"), sparse_probe(recording, "red", k=D)
    torch.testing.assert_close(all_units.directions, dense.directions)
    assert all_units.metrics["auroc"] == dense.metrics["auroc"]


@pytest.mark.parametrize("selector", ["mean_difference", "adaptive"])
def test_sparse_probe_recovers_the_planted_units(selector):
    recording, _, _ = data(effect=2.0)
    units = sparse_probe(recording, "red", k=2, selector=selector).directions[0].nonzero().flatten().tolist()
    assert units == [2, 5]


def test_adaptive_thresholds_see_what_units_add_to_others():
    """Unit 0 carries the signal and a nuisance, unit 1 the nuisance alone: together they tell, and 1 has no mean difference."""
    g = np.random.default_rng(0)
    y = g.random(800) < 0.3
    nuisance = 4 * g.normal(size=800)
    x = np.column_stack([2 * y + nuisance, nuisance, y + 1.5 * g.normal(size=800), g.normal(size=(800, 5))[:, 0]])
    recording = Recording.of(torch.tensor(x), site="mlp", labels={"red": y})
    chosen = {s: sparse_probe(recording, "red", k=2, selector=s) for s in ("mean_difference", "adaptive")}
    assert chosen["adaptive"].directions[0].nonzero().flatten().tolist() == [0, 1]
    assert chosen["adaptive"].metrics["f1"] > 0.95 > 0.8 > chosen["mean_difference"].metrics["f1"]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=25))
def test_the_threshold_with_the_best_f1_equals_brute_force(rows):
    scores, labels = np.array([r[0] for r in rows], float), np.array([r[1] for r in rows])
    if labels.any():
        def f1(t):
            said = scores > t
            return 2 * (said & labels).sum() / (said.sum() + labels.sum())

        best = max(f1(t) for t in np.arange(-4, 4, 0.25))
        assert f1(best_threshold(scores, labels)) == pytest.approx(best)


@pytest.mark.parametrize("k", [1, 4])
def test_shuffled_labels_give_the_constant_answer(k):
    found = []
    for seed in range(12):
        recording, _, _ = data(seed, effect=0.0, rate=0.2)
        found.append(sparse_probe(recording, "red", k=k, seed=seed).metrics["f1"])
    assert abs(np.mean(found) - 2 * 0.2 / 1.2) < 0.08


@pytest.mark.parametrize("probe", [difference_in_means, logistic_probe])
def test_held_out_auroc_is_a_half_under_the_null(probe):
    found = [probe(data(seed, effect=0.0)[0], "red", seed=seed).metrics["auroc"] for seed in range(15)]
    assert abs(np.mean(found) - 0.5) < 0.03


def test_probe_test_supports_what_is_there_and_not_what_is_not():
    recording, _, _ = data(effect=1.0)
    found = probe_test(difference_in_means(recording, "red"), recording, "red")
    assert found.verdict == "supported"
    assert found.estimate.low <= found.estimate.value <= found.estimate.high
    false = 0
    for seed in range(10):
        empty, _, _ = data(seed, effect=0.0)
        false += probe_test(difference_in_means(empty, "red"), empty, "red", draws=39).verdict == "supported"
    assert false <= 2


@pytest.mark.parametrize("probe", [difference_in_means, logistic_probe, sparse_probe])
def test_refusals(probe):
    recording, x, y = data()
    with pytest.raises(UsageError, match="'red'"):
        probe(recording, "rd")
    with pytest.raises(UsageError, match="one site"):
        probe(Recording.of({"a": torch.tensor(x), "b": torch.tensor(x)}, labels={"red": y}), "red")
    with pytest.raises(Degenerate, match="one class"):
        probe(recording.add_labels({"all": y | True}), "all")
    bad = torch.tensor(x)
    bad[7, 3] = float("nan")
    with pytest.raises(NonFinite):
        probe(Recording.of(bad, labels={"red": y}), "red")


def test_sparse_probe_refuses_selectors_and_sizes():
    recording, _, _ = data()
    with pytest.raises(UsageError, match="adaptive"):
        sparse_probe(recording, "red", selector="lasso")
    with pytest.raises(UsageError, match="k must"):
        sparse_probe(recording, "red", k=0)

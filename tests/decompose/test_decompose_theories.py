"""Findings about trained weights and codes: each against closed forms, a slow oracle, and a case where nothing is there."""

import itertools
import math

import numpy as np
import pytest
import torch

from microtome import decompose
from microtome.decompose import associative, irreps, margins
from microtome.decompose.alignment import cka
from microtome.stimuli.algorithmic.groups import dihedral, symmetric
from microtome.subject.basis import Linear
from microtome.subject.recording import Recording

DRAW = np.random.default_rng(1)


def test_toy_superposition_equals_the_oracle_sum_and_shares_never_exceed_the_dimensions():
    w = torch.from_numpy(DRAW.normal(size=(7, 3)))
    found = decompose.toy_superposition(w, draws=9)
    for i, row in found.table.iterrows():
        unit = w[i] / w[i].norm()
        want = float(w[i] @ w[i]) / sum(float(unit @ w[j]) ** 2 for j in range(7))
        assert row["dimensionality"] == pytest.approx(want)
    assert found.controls["sum_of_shares"] <= 3 + 1e-9
    as_basis = decompose.toy_superposition(Linear("h", w.T.float(), w.float()), draws=9)
    np.testing.assert_allclose(as_basis.table["norm"], found.table["norm"], rtol=1e-6)


def test_toy_superposition_recovers_planted_antipodes_and_absent_features():
    w = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0], [0, 0, 0.01]])
    table = decompose.toy_superposition(w, draws=9).table
    assert table["state"].tolist() == ["shared", "shared", "dedicated", "absent"]
    assert table["polytope"].tolist()[:3] == ["digon", "digon", "dedicated"]


def test_bows_equals_the_oracle_in_loops():
    w, x = torch.from_numpy(DRAW.normal(size=(5, 2))), torch.from_numpy((DRAW.random((40, 5)) < 0.4) * 1.0)
    found = decompose.bows(w, x, draws=3)
    on, off = [], []
    for row, i in itertools.product(range(40), range(5)):
        others = sum(float(w[i] @ w[j]) for j in range(5) if j != i and x[row, j])
        (on if x[row, i] else off).append(others)
    assert found.estimate.value == pytest.approx(np.mean(on) - np.mean(off))
    assert found.controls["on_active"] == pytest.approx(np.mean(on))
    assert found.table["own"].tolist() == pytest.approx([float(r @ r) for r in w])


def test_grok_corrupted_equals_the_oracle_spectrum_and_orders_neurons_to_prune():
    blocks = [torch.from_numpy(DRAW.normal(size=(4, 7))) for _ in "uvw"]
    for block, t in zip(blocks, (0.1, 0.4, 0.5), strict=True):
        block[2] = torch.cos(2 * math.pi * 3 * torch.arange(7, dtype=torch.float64) / 7 + t)
    table = decompose.grok_corrupted(*blocks, draws=9).table
    for row in table.itertuples():
        parts = []
        for block in blocks:
            f = [abs(sum(block[row.neuron, x] * np.exp(-2j * np.pi * k * x / 7) for x in range(7))) ** 2 for k in (1, 2, 3)]
            parts.append(sum(v**2 for v in f) / sum(f) ** 2)
        assert row.ipr == pytest.approx(float(np.mean(parts)))
    assert table["neuron"].iloc[-1] == 2
    assert table["frequency"].iloc[-1] == 3
    assert table["mismatch"].iloc[-1] == pytest.approx(0, abs=1e-9)


def test_max_margin_features_agrees_with_the_oracle_in_loops():
    u, v, w = (torch.from_numpy(DRAW.normal(size=(3, 5))) for _ in "uvw")
    worst = math.inf
    for a, b in itertools.product(range(5), repeat=2):
        logits = [sum(float((u[i, a] + v[i, b]) ** 2 * w[i, c]) for i in range(3)) for c in range(5)]
        right = logits.pop((a + b) % 5)
        worst = min(worst, right - max(logits))
    size = sum(float((u[i] @ u[i] + v[i] @ v[i] + w[i] @ w[i]) ** 1.5) for i in range(3))
    found = decompose.max_margin_features(u, v, w, draws=3)
    assert found.estimate.value == pytest.approx(worst / size / margins.largest_margin(5))
    one = decompose.max_margin_features(*margins.addition_optimum(7, [2]), draws=3)
    assert (one.controls["frequencies"], one.controls["frequencies_possible"]) == (1, 3)
    assert one.controls["median_share"] == pytest.approx(1)
    assert one.estimate.value < 1


@pytest.mark.parametrize("table", [dihedral(9), symmetric(4)], ids=["dihedral", "symmetric"])
def test_group_composition_reps_recovers_a_planted_set_exactly(table):
    rho = irreps.irreps(table)[-1]
    x = rho.matrices.flatten(1) @ torch.from_numpy(DRAW.normal(size=(rho.dim**2, 5)))
    logits = irreps.character_logits(table, [rho])[0]
    found = decompose.group_composition_reps(x, table, logits=logits, draws=19)
    assert found.table["share"][0] == pytest.approx(1)
    assert int(found.table["chosen"].sum()) == 1
    assert found.controls["logits_explained"] == pytest.approx(1)
    assert found.table["share"].sum() == pytest.approx(1)
    assert found.table["by_chance"].sum() == pytest.approx(1)
    assert found.estimate.value == pytest.approx(1 - rho.functions.shape[1] / (len(table) - 1))


def test_assoc_memory_scaling_agrees_with_the_recall_error_and_the_oracle():
    e, u = associative.embeddings(20, 16, 0, "e"), associative.embeddings(4, 16, 0, "u")
    f, p = torch.from_numpy(DRAW.integers(0, 4, 20)), associative.zipf(20, 1.5)
    w = associative.store(e, u, f, torch.rand(20, dtype=torch.float64))
    found = decompose.assoc_memory_scaling(w, e, u, classes=f, probabilities=3 * p, draws=9)
    assert found.estimate.value == pytest.approx(1 - associative.recall_error(w, e, u, f, p))
    for x in range(20):
        scores = [float(u[y] @ w @ e[x]) for y in range(4)]
        assert found.table["answer"][x] == int(np.argmax(scores))
        want = scores[f[x]] - max(s for y, s in enumerate(scores) if y != f[x])
        assert found.table["margin"][x] == pytest.approx(want)


def test_representation_bias_equals_the_closed_form_of_balanced_labels():
    bits = (np.arange(64)[:, None] >> np.arange(2)) & 1
    x = (2 * bits - 1) @ np.diag([3.0, 1.0])
    labels = {"easy": bits[:, 0] == 1, "hard": bits[:, 1] == 1}
    found = decompose.representation_bias(Recording.of(torch.from_numpy(x), site="h", labels=labels), draws=19)
    assert found.table["property"].tolist() == ["easy", "hard"]
    np.testing.assert_allclose(found.table["variance"], [0.9, 0.1])
    assert found.estimate.value == pytest.approx(9)
    assert found.estimate.low <= 9 <= found.estimate.high
    assert found.verdict == "supported"
    assert not found.notes


def test_representation_bias_says_when_properties_are_correlated():
    a = DRAW.random(100) < 0.5
    b = a ^ (DRAW.random(100) < 0.1)
    recording = Recording.of(torch.from_numpy(DRAW.normal(size=(100, 3))), site="h", labels={"a": a, "b": b})
    assert "share" in decompose.representation_bias(recording, draws=5).notes[0]


def test_task_nonlinearity_geometry_agrees_with_its_parts_and_takes_many_rows():
    bits = DRAW.integers(0, 2, (1500, 3))
    x = torch.from_numpy(np.concatenate([bits[:, :2] + 0.1 * DRAW.normal(size=(1500, 2)), DRAW.normal(size=(1500, 2))], 1))
    inputs = torch.from_numpy(DRAW.normal(size=(1500, 5)))
    labels = {f"b{k}": bits[:, k] == 1 for k in range(3)}
    few = Recording.of(x[:300], site="h", labels={k: v[:300] for k, v in labels.items()})
    found = decompose.task_nonlinearity_geometry(few, inputs[:300], targets=["b0", "b1"], draws=5)
    y = torch.from_numpy(bits[:300, :2]).double()
    assert found.estimate.value == pytest.approx(cka(x[:300], y) - cka(x[:300], inputs[:300]))
    assert found.table["target"].tolist() == [True, True, False]
    assert found.table["ccgp"][0] > 0.8
    many = decompose.task_nonlinearity_geometry(Recording.of(x, site="h", labels=labels), inputs, targets="b0", draws=3)
    assert many.estimate.n == 1024

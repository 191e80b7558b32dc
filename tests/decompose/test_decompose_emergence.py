"""Categorical latents over checkpoints: counting by hand, planted steps, labels that mean nothing."""

import numpy as np
import pytest
import torch

from microtome.decompose import feature_emergence
from microtome.decompose.feature_emergence import _counted, emergence
from microtome.errors import Degenerate, UsageError
from microtome.evidence import auroc
from microtome.subject.basis import Identity
from microtome.subject.recording import Recording


def units(recording, seed):
    """The units themselves."""
    return Identity(str(recording.sites[0]), recording.matrix().shape[1])


def checkpoints(first=(1, 2, 3), samples=200, seed=0):
    """Property k gets a unit of its own at site ``first[k]``; five sites, samples of three rows."""
    g = np.random.default_rng(seed)
    kind = np.arange(samples) % (len(first) + 1)
    values = {}
    for step in range(5):
        x = g.normal(size=(samples, 3, 6))
        for k, start in enumerate(first):
            x[kind == k, :, k] += 4 * (step >= start)
        values[f"step {step}"] = torch.tensor(x.reshape(-1, 6))
    labels = {f"topic {k}": np.repeat(kind == k, 3) for k in range(len(first))}
    return Recording.of(values, index={"sample": np.repeat(np.arange(samples), 3)}, labels=labels)


def test_planted_steps_are_recovered_and_the_counts_with_them():
    found = feature_emergence(checkpoints(), fit=units, draws=19)
    at = found.table.drop_duplicates("property").set_index("property")["emerged_at"]
    assert at.to_dict() == {"topic 0": "step 1", "topic 1": "step 2", "topic 2": "step 3"}
    counts = found.table.pivot(index="step", columns="property", values="count").to_numpy()
    assert counts.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]]
    assert found.estimate.value == 3
    assert found.verdict == "supported"
    assert found.table["chance"].max() == 0


def test_labels_that_mean_nothing_have_no_latents():
    recording = checkpoints()
    g = np.random.default_rng(1)
    nonsense = np.repeat(g.random(200) < 0.5, 3)
    found = feature_emergence(recording.add_labels({"odd": nonsense}), properties=["odd"], fit=units, draws=19)
    assert found.table["count"].sum() == 0
    assert set(found.table["emerged_at"]) == {"never"}
    assert found.verdict == "not supported"


def test_counting_equals_loops_with_the_correction_written_out():
    g = np.random.default_rng(2)
    labels = g.random((60, 3)) < 0.4
    scores = g.normal(size=(60, 8))
    scores[:, 0] += 5 * labels[:, 0]
    scores[:, 1] += 5 * labels[:, 1]
    scores[:, 2] += 5 * labels[:, 1]
    area = auroc(scores, labels)
    positive = labels.sum(0)
    tests = []
    for c in range(3):
        for i in range(8):
            z = (area[c, i] - 0.5) / np.sqrt(61 / (12 * positive[c] * (60 - positive[c])))
            tests.append((0.5 * float(torch.erfc(torch.tensor(z / 2**0.5))), c, i))
    tests.sort()
    kept = max((r for r, (p, _, _) in enumerate(tests, 1) if p <= 0.05 * r / len(tests)), default=0)
    slow = [0, 0, 0]
    for _, c, i in tests[:kept]:
        if area[c, i] >= 0.9 and area[c, i] == area[:, i].max():
            slow[c] += 1
    assert _counted(area, positive, 60, 0.9, 0.05).tolist() == slow == [1, 2, 0]


def test_a_count_that_falls_back_has_not_emerged():
    counts = np.array([[0, 1, 0, 0], [2, 1, 3, 0], [0, 3, 3, 1], [2, 3, 3, 2]])
    chance = np.array([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1]])
    assert emergence(counts, chance).tolist() == [3, 2, 1, 3]
    assert emergence(counts[:1], chance[:1]).tolist() == [-1] * 4


def test_what_cannot_be_judged_is_refused():
    recording = checkpoints()
    with pytest.raises(UsageError, match="two sites"):
        feature_emergence(recording["step 0"], fit=units)
    with pytest.raises(UsageError, match="topic 1"):
        feature_emergence(recording, properties=["topc 1"], fit=units)
    with pytest.raises(Degenerate, match="topic 0"):
        feature_emergence(recording.select(np.arange(60)), properties=["topic 0"], fit=units)

"""Samples as sparse vectors and the choice among them: loops as oracles, planted kinds, duplicates."""

import numpy as np
import pytest
import torch

from microtome.decompose import mona_selection
from microtome.decompose.pooled import diverse, likeness, pooled, unit_sum
from microtome.errors import UsageError
from microtome.subject.basis import Identity
from microtome.subject.recording import Recording


def rows(seed=0, samples=12, units=5):
    """Sparse rows of samples of one to four rows each, in mixed order."""
    g = np.random.default_rng(seed)
    sample = g.permutation(np.repeat(np.arange(samples), g.integers(1, 5, samples)))
    x = g.random((len(sample), units)) * (g.random((len(sample), units)) < 0.5)
    return Recording.of(torch.tensor(x), site="h", index={"sample": sample}), x, sample


@pytest.mark.parametrize("pooling", ["mean", "max", "last"])
def test_pooling_equals_loops(pooling):
    recording, x, sample = rows()
    found, names = pooled(recording, Identity("h", 5), pooling=pooling)
    assert names.tolist() == list(range(12))
    for i in range(12):
        own = x[sample == i]
        slow = {"mean": own.mean(0), "max": own.max(0), "last": own[-1]}[pooling]
        assert np.allclose(found[i].toarray()[0], slow)


def test_weighted_jaccard_equals_the_sums_of_minima_and_maxima():
    _, x, _ = rows(3)
    z, _ = pooled(Recording.of(torch.tensor(x + 0.01), site="h"), Identity("h", 5))
    t = np.random.default_rng(1).random(5) * [1, 0, 1, 1, 0]
    dense = z.toarray()
    slow = [sum(map(min, row, t)) / sum(map(max, row, t)) for row in dense]
    assert np.allclose(likeness(z, t), slow)
    assert np.allclose(likeness(z, dense[4])[4], 1.0)
    cosine = dense @ t / (np.linalg.norm(dense, axis=1) * np.linalg.norm(t))
    assert np.allclose(likeness(z, t, "cosine"), cosine)
    assert np.allclose(abs(unit_sum(z)).sum(1), 1.0)


def test_samples_without_codes_are_like_nothing():
    x = torch.zeros(4, 3)
    x[:3, 0] = torch.tensor([1.0, 2.0, 0.5])
    z, _ = pooled(Recording.of(x, site="h"), Identity("h", 3))
    assert likeness(unit_sum(z), np.array([1.0, 0, 0])).tolist() == [1.0, 1.0, 1.0, 0.0]
    assert likeness(z[3:], np.zeros(3)).tolist() == [0.0]


def kinds(duplicates=False):
    g = np.random.default_rng(0)
    kind = np.arange(120) % 3
    x = g.random((120, 9)) * 0.3
    x[np.arange(120), kind] += 1
    x[np.arange(120), 3 + g.integers(0, 3, 120)] += 0.7
    if duplicates:
        x[[30, 33, 36, 39]] = x[[42, 45, 48]].mean(0)
    return Recording.of(torch.tensor(x), site="h"), kind


def test_the_planted_kind_is_recovered_and_the_best_come_first():
    recording, kind = kinds()
    found = mona_selection(recording, Identity("h", 9), targets=[0, 3, 6, 9], share=0.1, draws=39)
    assert (kind[found.table["sample"]] == 0).all()
    assert found.verdict == "supported"
    assert found.table["score"].is_monotonic_decreasing
    assert not set(found.table["sample"]) & {0, 3, 6, 9}
    assert all(words.split()[0] == "0" for words in found.table["latents"])
    assert len(found.table) == round(0.1 * 116)


def test_targets_of_all_kinds_have_nothing_in_common():
    recording, _ = kinds()
    found = mona_selection(recording, Identity("h", 9), targets=list(range(9)), share=0.1, draws=99)
    assert found.verdict == "not supported"


def test_diversity_takes_one_of_near_duplicates():
    recording, _ = kinds(duplicates=True)
    same = {30, 33, 36, 39}
    plain = mona_selection(recording, Identity("h", 9), targets=[42, 45, 48], share=0.1, draws=1)
    spread = mona_selection(recording, Identity("h", 9), targets=[42, 45, 48], share=0.1, diversity=0.6, draws=1)
    assert len(same & set(spread.table["sample"])) < len(same & set(plain.table["sample"]))
    z, _ = pooled(recording, Identity("h", 9))
    score = likeness(z, z[0].toarray()[0])
    slow, left = [], list(range(120))
    for _ in range(6):
        near = [max((likeness(z[i], z[j].toarray()[0])[0] for j in slow), default=0.0) for i in left]
        best = left[int(np.argmax([0.4 * score[i] - 0.6 * n for i, n in zip(left, near, strict=True)]))]
        slow.append(best)
        left.remove(best)
    assert diverse(z, score, 6, 0.6).tolist() == slow


def test_negative_codes_have_no_jaccard_but_a_cosine():
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    recording = Recording.of(x, site="h")
    with pytest.raises(UsageError, match="cosine"):
        mona_selection(recording, Identity("h", 4), targets=[0], draws=1)
    found = mona_selection(recording, Identity("h", 4), targets=[0], metric="cosine", share=0.1, draws=1)
    slow = torch.nn.functional.cosine_similarity(x[:1], x[1:]).argmax() + 1
    assert found.table["sample"][0] == slow

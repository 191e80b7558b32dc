"""Alignment, dimensions, abstraction and interference against slow oracles and planted geometry."""

import itertools

import numpy as np
import pytest
import torch

from microtome.decompose.alignment import cka, kernel_alignment
from microtome.decompose.bows import arrangement, coactivation, interference_split
from microtome.decompose.representation import ccgp, parallelism, participation_ratio, shattering, variance_explained
from microtome.errors import Degenerate, NonFinite, ShapeError, UsageError
from microtome.organisms.superposition import train_many, train_on
from microtome.stimuli.algorithmic import bags, bit_strings, conditions, placed_features

DRAW = np.random.default_rng(0)


def slow_unbiased(k, l):
    """Unbiased HSIC by its definition as sums over distinct indices."""
    n, total = len(k), [0.0, 0.0, 0.0]
    for i, j in itertools.permutations(range(n), 2):
        total[0] += k[i, j] * l[i, j]
    for i, j, q in itertools.permutations(range(n), 3):
        total[1] += k[i, j] * l[i, q]
    for i, j, q, r in itertools.permutations(range(n), 4):
        total[2] += k[i, j] * l[q, r]
    two, three, four = n * (n - 1), n * (n - 1) * (n - 2), n * (n - 1) * (n - 2) * (n - 3)
    return total[0] / two - 2 * total[1] / three + total[2] / four


def test_debiased_alignment_equals_the_sums_over_distinct_indices():
    x, y = DRAW.normal(size=(8, 3)), DRAW.normal(size=(8, 5))
    k, l = x @ x.T, y @ y.T
    want = slow_unbiased(k, l) / np.sqrt(slow_unbiased(k, k) * slow_unbiased(l, l))
    assert cka(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(want, rel=1e-9)


def test_plain_alignment_equals_its_closed_form_and_ignores_rotation_scale_and_shift():
    x, y = (torch.from_numpy(DRAW.normal(size=(30, d))) for d in (4, 6))
    a, b = x - x.mean(0), y - y.mean(0)
    want = (a.T @ b).square().sum() / ((a.T @ a).norm() * (b.T @ b).norm())
    assert cka(x, y, debiased=False) == pytest.approx(float(want), rel=1e-10)
    q = torch.linalg.qr(torch.from_numpy(DRAW.normal(size=(4, 4))))[0]
    for debiased in (True, False):
        assert cka(x, 3 * x @ q + 5, debiased=debiased) == pytest.approx(1, abs=1e-9)


def test_independent_representations_align_by_chance_only_when_not_debiased():
    pairs = [[torch.from_numpy(DRAW.normal(size=(20, 60))) for _ in "xy"] for _ in range(30)]
    assert abs(np.mean([cka(*p) for p in pairs])) < 0.05
    assert np.mean([cka(*p, debiased=False) for p in pairs]) > 0.5


def test_participation_ratio_equals_the_eigenvalue_form_either_way_round():
    for shape in ((50, 7), (7, 50)):
        x = DRAW.normal(size=shape)
        values = np.linalg.eigvalsh(np.cov(x.T))
        assert participation_ratio(torch.from_numpy(x)) == pytest.approx(values.sum() ** 2 / (values**2).sum(), rel=1e-9)


def test_variance_explained_equals_regression_by_an_oracle():
    x, y = DRAW.normal(size=(40, 5)), DRAW.normal(size=(40, 2))
    design = np.column_stack([np.ones(40), y])
    rest = x - design @ np.linalg.lstsq(design, x, rcond=None)[0]
    want = 1 - (rest**2).sum() / ((x - x.mean(0)) ** 2).sum()
    assert variance_explained(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(want, rel=1e-9)
    twice = np.column_stack([y, y[:, :1]])
    assert variance_explained(torch.from_numpy(x), torch.from_numpy(twice)) == pytest.approx(want, rel=1e-9)


def test_a_planted_cube_is_abstract_and_random_places_are_not():
    bits = torch.tensor(list(itertools.product([0, 1], repeat=3)))
    cube = (2.0 * bits - 1) @ torch.from_numpy(DRAW.normal(size=(3, 20))).float()
    assert ccgp(cube, bits, 0) == 1.0
    assert parallelism(cube, bits, 1) == pytest.approx(1)
    assert shattering(cube, bits) < 0.5
    random = [torch.from_numpy(DRAW.normal(size=(8, 100))) for _ in range(20)]
    assert abs(np.mean([ccgp(x, bits, 0) for x in random]) - 0.5) < 0.1
    assert abs(np.mean([parallelism(x, bits, 0) for x in random])) < 0.1
    assert shattering(random[0], bits) == 1.0


def test_conditions_are_planted_where_they_say():
    flat, same = conditions(64, 1, noise=0.0), conditions(64, 1, noise=0.3, draw=2)
    assert len(torch.unique(flat.inputs, dim=0)) == 8
    flat_x, same_x = torch.as_tensor(flat.inputs), torch.as_tensor(same.inputs)
    assert (flat_x - same_x).std() == pytest.approx(0.3, rel=0.1)
    factored = conditions(64, 1, noise=0.0, factored=True)
    assert torch.linalg.matrix_rank(factored.inputs) == 3
    assert set(bit_strings(50, bits=3).flatten().tolist()) == {-1.0, 1.0}


def test_interference_equals_the_oracle_in_loops():
    w, x = DRAW.normal(size=(5, 2)), DRAW.integers(0, 2, (30, 5)).astype(float)
    own, on, off = [], [], []
    for row in x:
        for i in range(5):
            other = sum(row[j] * w[i] @ w[j] for j in range(5) if j != i)
            (on if row[i] else off).append(other)
            if row[i]:
                own.append(w[i] @ w[i])
    got = interference_split(torch.from_numpy(w), torch.from_numpy(x))
    assert (got.own, got.on_active, got.on_inactive) == pytest.approx((np.mean(own), np.mean(on), np.mean(off)), rel=1e-9)
    np.testing.assert_allclose(coactivation(torch.from_numpy(x)).numpy(), np.corrcoef(x.T), atol=1e-9)


def test_features_on_a_ring_are_correlated_with_neighbours_and_permuted_ones_are_not():
    x = placed_features(4000, 0).inputs
    mixed = placed_features(4000, 0, shape="independent").inputs
    torch.testing.assert_close(x.mean(0), mixed.mean(0))
    i = torch.arange(12)
    ring = torch.cos(2 * torch.pi * (i[:, None] - i) / 12)
    assert arrangement(ring, ring) > 0.99  # rows of a circulant matrix lie on the ring
    assert coactivation(x)[0, 1] > 0.3 > abs(coactivation(mixed)[0, 1])
    for shape in ("eight", "sphere"):
        assert placed_features(10, shape=shape).inputs.shape == (10, 12)


def test_bags_hold_the_words_of_each_stretch_by_hand():
    assert bags(torch.tensor([3, 3, 0, 1, 2]), 4, window=2).tolist() == [[0, 0, 0, 1], [1, 1, 0, 0]]


def test_a_toy_model_trained_on_data_is_seeded_and_learns():
    x = placed_features(500, 0).inputs
    one, two = (train_on(x, 2, steps=60) for _ in range(2))
    assert torch.equal(one.encode.weight, two.encode.weight)
    assert (one(x) - x).square().mean() < (train_on(x, 2, steps=1)(x) - x).square().mean()


def test_toy_models_trained_together_do_not_know_of_each_other():
    x = torch.stack([placed_features(400, seed).inputs for seed in range(3)])
    w, b = train_many(x, 2, steps=300, weight_decay=0.1)
    assert w.shape == (3, 12, 2)
    other = torch.stack([x[0], x[2], 1 - x[1]])
    v, c = train_many(other, 2, steps=300, weight_decay=0.1)
    torch.testing.assert_close(v[0], w[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(c[0], b[0], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(v[1], w[1], atol=1e-3)
    for rows, directions, bias in zip(x, w, b, strict=True):
        error = ((rows @ directions @ directions.T + bias).relu() - rows).square().mean()
        assert error < 0.8 * rows.var(0, unbiased=False).mean()
    linear, _ = train_many(x[:1], 2, steps=400, relu=False)
    plane = torch.linalg.svd(x[0] - x[0].mean(0))[2][:2]
    assert (plane @ linear[0]).square().sum() / linear[0].square().sum() > 0.9
    with pytest.raises(ShapeError, match="instances"):
        train_many(x[0], 2)


def test_refusals():
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(Degenerate, match="vary"):
        cka(x, torch.ones(6, 2))
    with pytest.raises(Degenerate, match="at least 4"):
        cka(x[:3], x[:3])
    with pytest.raises(NonFinite):
        cka(x, x * float("nan"))
    with pytest.raises(ShapeError):
        kernel_alignment(x, x)
    with pytest.raises(ShapeError):
        variance_explained(x, torch.ones(5))
    with pytest.raises(Degenerate, match="constant"):
        variance_explained(x, torch.ones(6))
    with pytest.raises(ShapeError):
        ccgp(x, torch.ones(6), 0)
    with pytest.raises(Degenerate):
        interference_split(torch.ones(3, 2), torch.ones(4, 3))
    with pytest.raises(UsageError, match="circle"):
        placed_features(3, shape="square")
    with pytest.raises(UsageError):
        conditions(0)

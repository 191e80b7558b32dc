"""Equal to slow loops and to scipy, statsmodels and scikit-learn."""

from itertools import combinations, permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn import metrics
from statsmodels.stats.multitest import fdrcorrection, multipletests

from microtome.evidence import (
    Null,
    NullFamily,
    auroc,
    average_precision,
    benjamini_hochberg,
    benjamini_yekutieli,
    best_f1,
    best_of_k,
    bootstrap,
    circular_shift_test,
    cluster_bootstrap,
    correlation_test,
    fdr_table,
    holm,
    max_statistic,
    p_values,
    paired_bootstrap,
    permutation_family,
    permutation_test,
    sign_flip_test,
    spearman,
)

SIDES = ("greater", "less", "two-sided")
COARSE = st.integers(-4, 4).map(float)  # few values, so that ties are common
vectors = st.integers(3, 7).flatmap(lambda n: arrays(float, n, elements=COARSE))


def g(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def slow_p(observed: float, null, side: str) -> float:
    up = (1 + sum(d >= observed - 1e-9 for d in null)) / (1 + len(null))
    down = (1 + sum(d <= observed + 1e-9 for d in null)) / (1 + len(null))
    return {"greater": up, "less": down, "two-sided": min(1.0, 2 * min(up, down))}[side]


@settings(deadline=None, derandomize=True, max_examples=60)
@given(arrays(float, st.integers(1, 30), elements=COARSE), COARSE, st.sampled_from(SIDES))
def test_p_equals_a_loop(draws, observed, side):
    null = Null("k", draws, observed, side)
    assert null.p == pytest.approx(slow_p(observed, draws, side), abs=1e-12)
    assert null.smallest_p <= null.p + 1e-12
    assert null.percentile == pytest.approx(stats.percentileofscore(draws, observed, "mean"))


@settings(deadline=None, derandomize=True, max_examples=40)
@given(vectors, vectors, st.sampled_from(SIDES))
def test_exact_two_sample_equals_enumeration(a, b, side):
    pooled, n = np.concatenate([a, b]), len(a)
    null = []
    for chosen in combinations(range(len(pooled)), n):
        rest = [i for i in range(len(pooled)) if i not in chosen]
        null.append(pooled[list(chosen)].mean() - pooled[rest].mean())
    null.remove(null[0])  # the observed arrangement comes first
    assert permutation_test(a, b, alternative=side, draws=9999).p == pytest.approx(slow_p(a.mean() - b.mean(), null, side))


@pytest.mark.parametrize("side", SIDES)
def test_exact_tests_equal_scipy(side):
    a, b = g(1).normal(size=7), g(2).normal(size=6) + 0.7
    difference = lambda x, y, axis: x.mean(axis) - y.mean(axis)  # noqa: E731
    kind = {"n_resamples": np.inf, "alternative": side, "vectorized": True}
    theirs = stats.permutation_test((a, b), difference, **kind)
    ours = permutation_test(a, b, alternative=side, draws=9999)
    assert ours.p == pytest.approx(theirs.pvalue, abs=1e-12)
    assert ours.draws == len(theirs.null_distribution) - 1

    theirs = stats.permutation_test((a,), lambda x, axis: x.mean(axis), permutation_type="samples", **kind)
    assert sign_flip_test(a, alternative=side).p == pytest.approx(theirs.pvalue, abs=1e-12)

    x, y = a[:6], b
    for method, reference in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        theirs = stats.permutation_test(
            (x,), lambda x_, r=reference: r(x_, y)[0], permutation_type="pairings", n_resamples=np.inf, alternative=side
        )
        assert correlation_test(x, y, method=method, alternative=side).p == pytest.approx(theirs.pvalue, abs=1e-12)


def test_random_permutations_approach_the_exact_p():
    a, b = g(3).normal(size=8), g(4).normal(size=8) + 0.6
    exact = permutation_test(a, b, draws=13_000).p
    assert "all 12870" in permutation_test(a, b, draws=13_000).kind
    assert permutation_test(a, b, draws=10_000).p == pytest.approx(exact, abs=0.02)
    x = g(5).normal(size=13)
    assert sign_flip_test(x, draws=8000).p == pytest.approx(sign_flip_test(x, draws=8192).p, abs=0.02)


@pytest.mark.parametrize("side", SIDES)
def test_exact_blocked_test_equals_enumeration(side):
    a, b = g(6).normal(size=5), g(7).normal(size=5)
    blocks_a, blocks_b = ["x", "x", "y", "y", "y"], ["x", "y", "y", "y", "x"]
    pooled, blocks = np.concatenate([a, b]), np.array(blocks_a + blocks_b)
    null = []
    for chosen in combinations(range(10), 5):
        mask = np.isin(np.arange(10), chosen)
        if (blocks[mask] == "x").sum() == 2 and not (mask == (np.arange(10) < 5)).all():
            null.append(pooled[mask].mean() - pooled[~mask].mean())
    ours = permutation_test(a, b, blocks=(blocks_a, blocks_b), alternative=side)
    assert ours.draws == len(null) == 6 * 20 - 1
    assert ours.p == pytest.approx(slow_p(a.mean() - b.mean(), null, side))


def test_random_blocked_shuffles_never_cross_a_block():
    # Each block is constant, so shuffling within blocks changes nothing, whatever the arrangement.
    a, b = np.repeat([1.0, 5.0, 9.0], 8), np.repeat([1.0, 5.0, 9.0], 6)
    test = permutation_test(a, b, blocks=(a, b), draws=300)
    np.testing.assert_allclose(test.statistics, test.observed, atol=1e-12)
    assert test.p == 1.0
    x = np.repeat([1.0, 5.0, 9.0], 8)
    np.testing.assert_allclose(correlation_test(x, x, blocks=x, draws=300).statistics, 1.0)


def test_exact_blocked_correlation_equals_enumeration():
    x, y, blocks = g(8).normal(size=6), g(9).normal(size=6), np.array([0, 0, 1, 1, 1, 0])
    null = []
    for order in permutations(range(6)):
        if (blocks[list(order)] == blocks).all() and order != tuple(range(6)):
            null.append(np.corrcoef(x, y[list(order)])[0, 1])
    ours = correlation_test(x, y, blocks=blocks)
    np.testing.assert_allclose(np.sort(ours.statistics), np.sort(null), atol=1e-12)
    assert ours.p == pytest.approx(slow_p(np.corrcoef(x, y)[0, 1], null, "two-sided"))


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.integers(3, 40), st.integers(0, 1000), st.sampled_from(["pearson", "spearman"]))
def test_circular_shift_equals_rolling(n, seed, method):
    x, y = g(seed).normal(size=n), g(seed + 1).normal(size=n)
    reference = stats.pearsonr if method == "pearson" else stats.spearmanr
    ours = circular_shift_test(x, y, method=method)
    assert ours.observed == pytest.approx(reference(x, y)[0], abs=1e-9)
    np.testing.assert_allclose(ours.statistics, [reference(x, np.roll(y, s))[0] for s in range(1, n)], atol=1e-9)


def test_family_equals_one_unit_at_a_time():
    a, b = g(10).normal(size=(20, 5)), g(11).normal(size=(15, 5))
    family = permutation_family(a, b, draws=200, seed=4)
    for unit in range(5):
        single = permutation_test(a[:, unit], b[:, unit], draws=200, seed=4)
        np.testing.assert_allclose(family.null(unit).statistics, single.statistics, atol=1e-12)
        assert family.p[unit] == single.p
    assert family.table(list("abcde")).unit.tolist() == list("abcde")
    assert isinstance(family, NullFamily)
    assert len(family) == 5


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_corrections_equal_statsmodels(p):
    np.testing.assert_allclose(benjamini_hochberg(p), fdrcorrection(p, method="indep")[1], rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(benjamini_yekutieli(p), fdrcorrection(p, method="negcorr")[1], rtol=1e-12, atol=1e-300)
    rank = {i: r for r, i in enumerate(sorted(range(len(p)), key=lambda i: (p[i], i)))}
    steps = [max((len(p) - rank[j]) * p[j] for j in rank if rank[j] <= rank[i]) for i in range(len(p))]
    np.testing.assert_allclose(holm(p), np.minimum(1, steps), rtol=1e-12)


@pytest.mark.parametrize(("method", "theirs"), [("bh", "fdr_bh"), ("by", "fdr_by"), ("holm", "holm")])
def test_fdr_table_rejects_as_statsmodels(method, theirs):
    for seed in range(3):
        p = g(seed).uniform(size=30) ** 4
        rejected, adjusted = multipletests(p, method=theirs)[:2]  # slow: it collects garbage at each call
        table = fdr_table(p, method=method)
        assert table.rejected.tolist() == rejected.tolist()
        np.testing.assert_allclose(table.q, adjusted, rtol=1e-12)


def test_corrections_keep_shape_and_accept_nothing():
    p = g(12).uniform(size=(4, 6))
    for correct in (benjamini_hochberg, benjamini_yekutieli, holm):
        assert (correct(p).ravel() == correct(p.ravel())).all()
        assert correct([]).shape == (0,)
    assert len(fdr_table([])) == 0


@pytest.mark.parametrize("side", SIDES)
def test_max_statistic_equals_a_loop(side):
    observed, null = g(13).integers(-3, 4, 6).astype(float), g(14).integers(-3, 4, (50, 6)).astype(float)
    fold = {"greater": lambda v: v, "less": lambda v: -v, "two-sided": np.abs}[side]
    expected = [(1 + sum(max(fold(row)) >= fold(value) for row in null)) / 51 for value in observed]
    np.testing.assert_allclose(max_statistic(observed, null, alternative=side), expected)
    assert (max_statistic(observed, null) >= p_values(observed, null)).all()


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.integers(2, 30), st.integers(1, 2), st.integers(0, 10_000), st.booleans())
def test_ranking_equals_scikit_learn(rows, units, seed, ties):
    scores = g(seed).normal(size=(rows, units))
    scores = np.round(scores) if ties else scores
    labels = g(seed + 1).permutation(np.arange(rows) < max(1, rows // 3))
    for unit in range(units):
        column = scores[:, unit]
        assert auroc(scores, labels)[unit] == pytest.approx(metrics.roc_auc_score(labels, column), abs=1e-12)
        precision = metrics.average_precision_score(labels, column)
        assert average_precision(scores, labels)[unit] == pytest.approx(precision, abs=1e-12)
        value, threshold = (v[unit] for v in best_f1(scores, labels))
        by_hand = {t: metrics.f1_score(labels, column >= t, zero_division=0) for t in column}
        assert value == pytest.approx(max(by_hand.values()), abs=1e-12)
        assert threshold == max(t for t, f1 in by_hand.items() if f1 > value - 1e-12)
        assert auroc(column, labels) == auroc(scores, labels)[unit]


def test_auroc_of_many_properties_and_float32_and_torch():
    import torch

    scores = g(15).normal(size=(50, 7)).astype(np.float32)
    labels = g(16).integers(0, 2, (50, 3)).astype(bool)
    together = auroc(scores, labels)
    assert together.shape == (3, 7)
    for j, i in product(range(3), range(7)):
        assert together[j, i] == pytest.approx(metrics.roc_auc_score(labels[:, j], scores[:, i]), abs=1e-12)
    assert (auroc(torch.tensor(scores, requires_grad=True), torch.tensor(labels)) == together).all()
    half = torch.tensor(scores).to(torch.bfloat16)
    assert (auroc(half, labels) == auroc(half.float().numpy(), labels)).all()
    assert auroc(scores[:, 0], labels).shape == (3,)


def test_ranking_in_chunks_is_the_same(monkeypatch):
    scores, labels = g(17).normal(size=(30, 20)), g(18).integers(0, 2, 30)
    whole = auroc(scores, labels), average_precision(scores, labels), *best_f1(scores, labels)
    monkeypatch.setattr("microtome.evidence._arrays.CELLS", 64)
    pieces = auroc(scores, labels), average_precision(scores, labels), *best_f1(scores, labels)
    for a, b in zip(whole, pieces):
        np.testing.assert_array_equal(a, b)


def test_spearman_equals_scipy():
    scores, target = np.round(g(19).normal(size=(30, 4)), 1), g(20).normal(size=30)
    expected = [stats.spearmanr(scores[:, u], target)[0] for u in range(4)]
    np.testing.assert_allclose(spearman(scores, target), expected, atol=1e-12)


@pytest.mark.parametrize(("method", "theirs"), [("percentile", "percentile"), ("bca", "BCa"), ("basic", "basic")])
def test_bootstrap_equals_scipy_with_the_same_stream(method, theirs):
    from microtome.rng import rng

    values = g(21).exponential(size=30)
    ours = bootstrap(values, draws=500, method=method, seed=5)
    reference = stats.bootstrap((values,), np.mean, n_resamples=500, method=theirs, random_state=rng(5, "bootstrap"))
    assert (ours.low, ours.high) == pytest.approx(tuple(reference.confidence_interval), abs=1e-12)
    slow = bootstrap(values, statistic=lambda rows: float(np.mean(rows)), draws=500, method=method, seed=5)
    assert (slow.value, slow.low, slow.high) == pytest.approx((ours.value, ours.low, ours.high), abs=1e-12)
    along = bootstrap(values, statistic=np.median, draws=500, seed=5)
    once = bootstrap(values, statistic=lambda rows: np.median(rows), draws=500, seed=5)
    assert along == once


def test_bootstraps_agree_where_they_must():
    a, b = g(22).normal(size=25), g(23).normal(size=25)
    plain = bootstrap(a - b, draws=300)
    assert paired_bootstrap(a, b, draws=300) == plain
    by_hand = paired_bootstrap(a, b, statistic=lambda x, y: x.mean() - y.mean(), draws=300)
    assert (by_hand.low, by_hand.high) == pytest.approx((plain.low, plain.high), abs=1e-12)
    singles = cluster_bootstrap(a - b, np.arange(25), draws=300)
    assert (singles.low, singles.high) == pytest.approx((plain.low, plain.high), abs=1e-12)
    clusters = np.repeat(np.arange(5), [2, 3, 4, 6, 10])
    fast = cluster_bootstrap(a, clusters, draws=300)
    slow = cluster_bootstrap(a, clusters, statistic=lambda rows: rows.mean(), draws=300)
    assert (fast.value, fast.low, fast.high) == pytest.approx((slow.value, slow.low, slow.high), abs=1e-12)
    assert fast.n == 5


def test_bootstrap_of_a_table_of_rows():
    rows = np.column_stack([g(24).normal(size=60), g(25).integers(0, 2, 60)])
    rows[:, 0] += rows[:, 1]
    e = bootstrap(rows, statistic=lambda r: auroc(r[:, 0], r[:, 1]), draws=200)
    assert e.low < e.value < e.high
    assert e.value == pytest.approx(metrics.roc_auc_score(rows[:, 1], rows[:, 0]))


def test_best_of_k_has_the_exact_distribution_of_the_maximum():
    m, k = 12, 4
    null = best_of_k(np.arange(m), observed=0.0, k=k, draws=40_000)
    every = [max(c) for c in combinations(range(m), k)]
    expected = np.bincount(every, minlength=m) / len(every)
    np.testing.assert_allclose(np.bincount(null.statistics.astype(int), minlength=m) / null.draws, expected, atol=0.01)
    assert (best_of_k(np.arange(m), 0.0, k=m, draws=50).statistics == m - 1).all()
    assert set(best_of_k(np.arange(m), 0.0, k=1, draws=2000).statistics) == set(range(m))

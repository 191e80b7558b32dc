"""Under the null each test errs at its nominal rate, and each interval covers at its nominal level."""

import numpy as np
import pytest

from microtome.evidence import (
    auroc,
    benjamini_hochberg,
    benjamini_yekutieli,
    best_of_k,
    bootstrap,
    circular_shift_family,
    cluster_bootstrap,
    correlation_family,
    correlation_test,
    holm,
    matched_random,
    max_statistic,
    p_values,
    paired_bootstrap,
    permutation_family,
    salmon_finding,
    sign_flip_family,
)
from microtome.evidence.salmon import largest_statistic

UNITS = 1000  # one unit is one independent data set
DRAWS = 399
SIDES = ("greater", "less", "two-sided")


def generator(name: str) -> np.random.Generator:
    return np.random.default_rng(sum(map(ord, name)))


def in_band(p: np.ndarray) -> None:
    rate = float((np.asarray(p) <= 0.05).mean())
    assert 0.03 <= rate <= 0.07, rate


def ar1(g: np.random.Generator, n: int, units: int, phi: float) -> np.ndarray:
    noise = g.normal(size=(n + 200, units))
    series = np.zeros_like(noise)
    for t in range(1, len(noise)):
        series[t] = phi * series[t - 1] + noise[t]
    return series[200:]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("noise", ["normal", "exponential"])
def test_two_sample_rate(side, noise):
    g = generator(side + noise)
    a, b = getattr(g, noise)(size=(20, UNITS)), getattr(g, noise)(size=(15, UNITS))
    in_band(permutation_family(a, b, alternative=side, draws=DRAWS, seed=1).p)


@pytest.mark.parametrize("side", SIDES)
def test_blocked_two_sample_rate_with_unbalanced_blocks(side):
    # Blocks differ in mean and in their share of a: only the test within blocks is right.
    g = generator("blocks" + side)
    blocks_a, blocks_b = np.repeat([0, 1, 2], [15, 5, 5]), np.repeat([0, 1, 2], [5, 15, 10])
    offset = np.array([3.0, 0.0, 0.5])
    a = g.normal(size=(25, UNITS)) + offset[blocks_a][:, None]
    b = g.normal(size=(30, UNITS)) + offset[blocks_b][:, None]
    in_band(permutation_family(a, b, blocks=(blocks_a, blocks_b), alternative=side, draws=DRAWS).p)
    naive = permutation_family(a, b, alternative="two-sided", draws=DRAWS).p
    assert (naive <= 0.05).mean() > 0.15  # ignoring the blocks is wrong here


@pytest.mark.parametrize("side", SIDES)
def test_sign_flip_rate(side):
    g = generator("flip" + side)
    in_band(sign_flip_family(g.laplace(size=(30, UNITS)), alternative=side, draws=DRAWS).p)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_correlation_rate(side, method):
    g = generator(method + side)
    x, y = g.normal(size=(25, UNITS)), g.exponential(size=25)
    in_band(correlation_family(x, y, method=method, alternative=side, draws=DRAWS).p)


def test_circular_shift_rate_where_shuffling_fails():
    g = generator("shift")
    x, y = ar1(g, 500, UNITS, 0.8), ar1(g, 500, 1, 0.8)[:, 0]
    # One y for all x would make the thousand tests share its luck: pair unit u with y shifted by an irregular amount.
    p = []
    for start in range(0, UNITS, 50):
        y = ar1(g, 500, 1, 0.8)[:, 0]
        p.append(circular_shift_family(x[:, start:start + 50], y, seed=start).p)
    in_band(np.concatenate(p))
    naive = correlation_family(x, y, draws=DRAWS).p
    assert (naive <= 0.05).mean() > 0.15


def test_max_statistic_family_error_with_dependent_units():
    g = generator("max")
    families = 1000
    false = []
    for _ in range(families):
        joint = g.normal(size=(200, 8)) + 2 * g.normal(size=(200, 1))  # strongly dependent units
        false.append(max_statistic(joint[0], joint[1:], alternative="two-sided").min() <= 0.05)
    assert 0.03 <= np.mean(false) <= 0.07


def test_holm_and_benjamini_error_when_nothing_is_there():
    g = generator("families")
    p = g.uniform(size=(1000, 20))
    for correct in (holm, benjamini_hochberg):
        assert 0.03 <= np.mean([correct(row).min() <= 0.05 for row in p]) <= 0.07
    assert np.mean([benjamini_yekutieli(row).min() <= 0.05 for row in p]) <= 0.03  # conservative, as declared


def test_benjamini_hochberg_controls_false_discoveries_and_finds_planted_truth():
    g = generator("planted")
    shares, power = [], []
    for _ in range(120):
        shift = np.r_[np.full(20, 1.2), np.zeros(180)]
        values = g.normal(size=(30, 200)) + shift
        family = sign_flip_family(values, alternative="greater", draws=999, seed=int(g.integers(1e6)))
        found = benjamini_hochberg(family.p) <= 0.05
        shares.append(found[20:].sum() / max(1, found.sum()))
        power.append(found[:20].mean())
    assert np.mean(shares) <= 0.05 + 2 * np.std(shares) / np.sqrt(120)
    assert np.mean(power) > 0.95


def test_best_of_k_rate_and_naive_rate():
    g = generator("best")
    p, naive = [], []
    for i in range(1000):
        pool, real = g.normal(size=2000), g.normal(size=20)
        null = best_of_k(pool, real.max(), k=20, draws=199, seed=i)
        p.append(null.p)
        naive.append(p_values([real.max()], pool[:199, None])[0])
    in_band(np.array(p))
    assert np.mean(np.array(naive) <= 0.05) > 0.5


def test_matched_random_rate():
    g = generator("matched")
    strata = np.repeat(np.arange(4), 100)
    p = []
    for i in range(1000):
        value = g.normal(size=400) + strata
        chosen = np.concatenate([g.choice(100, 3, replace=False) + 100 * s for s in (0, 2, 2 + 1)])
        sets = matched_random(chosen, strata, draws=99, seed=i)
        p.append(p_values([value[chosen].mean()], value[np.array(sets)].mean(1)[:, None])[0])
    in_band(np.array(p))


def test_salmon_rate():
    g = generator("salmon")
    draws = g.exponential(size=(1000, 40))
    findings = [salmon_finding({"s": row[0]}, {"reinit": {"s": row[1:]}}) for row in draws]
    assert 0.03 <= np.mean([f.verdict == "supported" for f in findings]) <= 0.07


@pytest.mark.parametrize("side", SIDES)
def test_largest_statistic_rate(side):
    g = generator("largest" + side)
    p = []
    for _ in range(1000):
        draws = g.exponential(size=(40, 3)) * np.array([1, 10, 100])
        p.append(largest_statistic("reinit", draws[0], draws[1:], side).p)
    in_band(np.array(p))


@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize(("noise", "truth"), [("normal", 0.0), ("exponential", 1.0)])
def test_bootstrap_coverage(noise, truth, method):
    g = generator(noise + method)
    hits = [e.low <= truth <= e.high for e in (
        bootstrap(getattr(g, noise)(size=40), draws=800, method=method, seed=i) for i in range(400)
    )]
    assert 0.90 <= np.mean(hits) <= 0.98


def test_paired_coverage_of_a_difference():
    g = generator("paired")
    hits = []
    for i in range(400):
        a = g.normal(size=40)
        e = paired_bootstrap(a + 0.5 + 0.3 * g.normal(size=40), a, draws=600, seed=i)
        hits.append(e.low <= 0.5 <= e.high)
    assert 0.90 <= np.mean(hits) <= 0.98


def test_cluster_coverage_where_rows_fail():
    g = generator("clusters")
    hits, naive = [], []
    clusters = np.repeat(np.arange(40), 10)
    for i in range(400):
        values = g.normal(size=40)[clusters] + 0.5 * g.normal(size=400)
        e = cluster_bootstrap(values, clusters, draws=600, seed=i)
        hits.append(e.low <= 0 <= e.high)
        if i < 100:
            e = bootstrap(values, draws=300, seed=i)
            naive.append(e.low <= 0 <= e.high)
    assert 0.90 <= np.mean(hits) <= 0.98
    assert np.mean(naive) < 0.7


def test_auroc_of_a_random_unit_is_one_half():
    g = generator("auroc")
    area = auroc(g.normal(size=(60, 2000)), g.integers(0, 2, 60))
    assert abs(area.mean() - 0.5) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("side", SIDES)
def test_rates_in_full(side):
    g = generator("full" + side)
    for n in (8, 20, 60):
        a, b = g.normal(size=(n, 10_000)), g.normal(size=(n + 3, 10_000))
        for p in (
            permutation_family(a, b, alternative=side, draws=1999).p, sign_flip_family(a, alternative=side, draws=1999).p,
        ):
            assert 0.04 <= (p <= 0.05).mean() <= 0.06
        pairs = enumerate(zip(a.T[:2000], g.normal(size=(2000, n))))
        p = [correlation_test(x, y, alternative=side, draws=199, seed=i).p for i, (x, y) in pairs]
        assert 0.035 <= (np.array(p) <= 0.05).mean() <= 0.065


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "truth"), [("normal", 0.0), ("exponential", 1.0)])
def test_bootstrap_coverage_in_full(noise, truth):
    g = generator("full" + noise)
    for n, low in ((20, 0.87), (40, 0.91), (200, 0.935)):
        hits = [e.low <= truth <= e.high for e in (bootstrap(getattr(g, noise)(size=n), seed=i) for i in range(2000))]
        assert low <= np.mean(hits) <= 0.97

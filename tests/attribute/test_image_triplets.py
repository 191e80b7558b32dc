"""Triplets of images: their differences, the even grid, choices explained by them."""

import numpy as np
import pytest
import torch

from microtome.attribute import image_triplets
from microtome.attribute.choices import held_out, logistic
from microtome.attribute.image_triplets import candidate_triplets, even
from microtome.attribute.triplets import similarities
from microtome.errors import Degenerate, NonFinite, ShapeError, UsageError
from microtome.evidence import Finding
from microtome.rng import rng
from microtome.stimuli.vision import entangled
from microtome.subject.recording import Recording


@pytest.fixture(scope="module")
def seen() -> Recording:
    g = torch.Generator().manual_seed(0)
    low = torch.randn(150, 10, generator=g)
    return Recording.of({"low": low, **{name: low + torch.randn(150, 10, generator=g) for name in ("middle", "high")}})


@pytest.fixture(scope="module")
def found(seen: Recording):
    return image_triplets(seen, low="low", high="high", triplets=250, bins=5)


@pytest.mark.parametrize("kind", ["cosine", "correlation"])
def test_image_triplets_differences_agree_with_a_slow_oracle(seen, kind):
    found = image_triplets(seen, triplets=30, bins=3, similarity=kind)
    for site, given in (("low", found.low), ("high", found.high)):
        x = seen[site].matrix().double().numpy()
        z = [[(v - x[:, j].mean()) / x[:, j].std() for j, v in enumerate(row)] for row in x]
        for (root, first, second), d in zip(found.images, given, strict=True):
            s = []
            for other in (first, second):
                a, b = np.array(z[root]), np.array(z[other])
                s.append(np.corrcoef(a, b)[0, 1] if kind == "correlation" else a @ b / np.sqrt((a @ a) * (b @ b)))
            assert d == pytest.approx(s[0] - s[1], abs=1e-10)


def test_loud_units_do_not_decide(seen):
    x = seen["low"].matrix().double()
    loud = x * torch.logspace(-3, 3, x.shape[1]) + 7
    assert np.allclose(similarities(Recording.of(x), "cosine"), similarities(Recording.of(loud), "cosine"))


def test_candidates_are_distinct_triplets_of_three_images():
    pool = candidate_triplets(7, 5000, rng(0, "test"))
    assert all(len(set(t)) == 3 for t in pool.tolist())
    assert len({(r, *sorted((a, b))) for r, a, b in pool.tolist()}) == len(pool) == 7 * 6 * 5 // 2


def test_every_cell_of_the_grid_gives_equally_many():
    g = np.random.default_rng(1)
    low = g.normal(size=4000)
    high = low + g.normal(size=4000)
    rows = even(low, high, 4, 163, rng(0, "test"))
    place = np.column_stack([4 * np.argsort(np.argsort(d)) // 4000 for d in (low, high)])[rows]
    counts = np.array([[int((place == (i, j)).all(1).sum()) for j in range(4)] for i in range(4)])
    assert len(set(rows.tolist())) == counts.sum() == 163
    assert set(counts.ravel()) == {10, 11}


def test_selected_are_decorrelated_and_random_ones_are_not(found):
    assert abs(found.correlation) < 0.1 < 0.4 < found.random.correlation
    assert np.allclose(found.chance.mean(), found.random.correlation, atol=0.2)
    assert found.finding().verdict == "supported"
    assert "250" in repr(found)
    assert 0.4 < found.table["conflict"].mean() < 0.6
    assert Finding.from_json(found.finding().to_json()) == found.finding()


def test_differences_of_the_own_sites_are_the_same_and_of_others_go_together(found, seen):
    assert np.allclose(found.differences(seen["low"]), found.low)
    again = image_triplets(seen, low="low", high="high", triplets=250, bins=5)
    assert (again.images == found.images).all()
    assert abs(np.corrcoef(found.low, found.differences(seen["middle"]))[0, 1]) > 0.4


def test_weights_of_choices_match_scikit_learn_and_planted_ones():
    linear = pytest.importorskip("sklearn.linear_model")
    g = np.random.default_rng(0)
    x = g.normal(size=(4000, 2))
    y = g.random(4000) < 1 / (1 + np.exp(-(0.3 + x @ [1.5, -0.7])))
    weights, covariance = logistic(x, y)
    peer = linear.LogisticRegression(C=1e12, tol=1e-10, max_iter=1000).fit(x, y)
    assert np.allclose(weights, [*peer.intercept_, *peer.coef_[0]], atol=1e-4)
    assert (np.abs(weights - [0.3, 1.5, -0.7]) < 3 * np.sqrt(covariance.diagonal())).all()


def test_intervals_of_weights_cover_at_their_rate():
    g = np.random.default_rng(2)
    inside = []
    for _ in range(300):
        x = g.normal(size=(200, 1))
        weights, covariance = logistic(x, g.random(200) < 1 / (1 + np.exp(-0.5 * x[:, 0])))
        inside.append(abs(weights[1] - 0.5) < 1.96 * np.sqrt(covariance[1, 1]))
    assert 0.91 < np.mean(inside) < 0.99


def test_an_observer_of_the_high_level_is_found_out(found, seen):
    g = np.random.default_rng(3)
    choices = g.random(len(found)) < 1 / (1 + np.exp(-2 * found.high / found.high.std()))
    fit = found.fit(choices, draws=19)
    assert fit.verdict == "supported"
    assert fit.estimate.low <= 2 <= fit.estimate.high
    assert fit.controls["low"].low <= 0 <= fit.controls["low"].high
    layers = found.layers(seen, choices).set_index("site")
    assert layers["log_likelihood"].idxmax() == "high"
    assert layers.loc["high", "low"] > np.log(0.5) > layers.loc["low", "log_likelihood"] - 0.02
    coin = found.fit(g.random(len(found)) < 0.5, draws=19)
    assert abs(coin.estimate.value) < 0.5


def test_held_out_choices_are_foreseen_by_the_other_folds():
    g = np.random.default_rng(4)
    x, y = g.normal(size=(40, 1)), g.random(40) < 0.5
    fold = rng(0, "choice folds").permutation(40) % 4
    for i, given in enumerate(held_out(x, y, folds=4)):
        weights, _ = logistic(x[fold != fold[i]], y[fold != fold[i]])
        p = 1 / (1 + np.exp(-(weights[0] + weights[1] * x[i, 0])))
        assert given == pytest.approx(np.log(p if y[i] else 1 - p))


def test_refusals_of_choices_and_other_recordings(found, seen):
    n = len(found)
    with pytest.raises(ShapeError, match="one per triplet"):
        found.fit(np.ones(n - 1))
    with pytest.raises(UsageError, match="True or 1"):
        found.fit(np.full(n, 2))
    with pytest.raises(Degenerate, match="the same"):
        found.fit(np.ones(n, dtype=bool))
    with pytest.raises(Degenerate, match="without error"):
        found.fit(found.high > 0)
    with pytest.raises(ShapeError, match="record the same"):
        found.differences(seen["low"].select(range(20)))
    with pytest.raises(UsageError, match="folds"):
        found.layers(seen, np.arange(n) % 2, folds=1)
    with pytest.raises(NonFinite, match="NaN"):
        logistic(np.array([[np.nan], [1.0]]), np.array([True, False]))
    with pytest.raises(Degenerate, match="cannot be told apart"):
        logistic(np.ones((4, 2)), np.array([True, False, True, False]))


def test_levels_that_go_together_are_refused_with_the_way_out(seen):
    x = seen["low"].matrix()
    with pytest.raises(Degenerate, match="fewer bins or triplets"):
        image_triplets(Recording.of({"a": x, "b": -x}))
    with pytest.raises(Degenerate, match="varies"):
        image_triplets(Recording.of({"a": torch.ones_like(x), "b": x}))


def test_entangled_links_shape_and_skin():
    for link in (0.0, 0.8, 1.0):
        pictures = entangled(3000, 1, link=link)
        counts = np.array(pictures.table.groupby(["shape", "skin"]).size().unstack(fill_value=0))
        expected = np.outer(counts.sum(1), counts.sum(0)) / counts.sum()
        assert np.sqrt(((counts - expected) ** 2 / expected).sum() / counts.sum() / 3) == pytest.approx(link, abs=0.05)
    assert pictures.inputs.shape == (3000, 3, 32, 32)
    assert bool(pictures.masks["object"].any(-1).any(-1).all())
    with pytest.raises(UsageError, match="link"):
        entangled(3, link=1.2)

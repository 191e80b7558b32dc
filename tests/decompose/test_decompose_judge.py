"""Scores against brute force; geometry of superposition."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome.decompose import geometry, judge, random_dictionary, topk_sae
from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.subject.basis import Identity, Linear
from microtome.subject.recording import Recording


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def brute(x, rebuilt, z):
    """Plain loops in python floats."""
    n, d = x.shape
    mean = [sum(float(x[i, j]) for i in range(n)) / n for j in range(d)]
    error = sum((float(x[i, j]) - float(rebuilt[i, j])) ** 2 for i in range(n) for j in range(d))
    whole = sum((float(x[i, j]) - mean[j]) ** 2 for i in range(n) for j in range(d))
    inner = sum((float(x[i, j]) - mean[j]) * (float(rebuilt[i, j]) - mean[j]) for i in range(n) for j in range(d))
    l0 = sum(float(v != 0) for row in z for v in row) / n
    dead = sum(all(float(v) == 0 for v in column) for column in z.T) / z.shape[1]
    return {"fvu": error / whole, "l0": l0, "dead": dead, "shrinkage": inner / whole}


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("batch", [1, 7, 100])
def test_reconstruction_equals_brute_force_for_every_batch_size(offset, batch):
    x = draw(40, 5) + offset
    rec = Recording.of(x, site="s")
    dictionary = random_dictionary(rec, latents=12, k=2)
    for basis in (dictionary, Linear("s", draw(5, 2), name="l"), dictionary.__class__.from_parts(
        dictionary.tensors(), {"activation": "relu", "k": None, "centred": True}, site="s"
    )):  # fmt: skip
        z = basis.encode(x)
        want = brute(x, basis.decode(z), z)
        got = judge.reconstruction(rec, basis, batch=batch)
        assert got == pytest.approx(want, rel=1e-7, abs=1e-7)
        assert judge.fvu(x, basis.decode(z)) == pytest.approx(want["fvu"], rel=1e-9)


def test_fvu_is_a_ratio_of_sums_and_not_a_mean_of_ratios():
    x = torch.cat([draw(20, 3), 100 * draw(20, 3, seed=1)])
    rec, basis = Recording.of(x, site="s"), Linear("s", draw(3, 1, seed=2))
    per_batch = np.mean([judge.fvu(b, basis.decode(basis.encode(b))) for b in (x[:20], x[20:])])
    whole = judge.reconstruction(rec, basis, batch=20)["fvu"]
    assert whole == pytest.approx(judge.fvu(x, basis.decode(basis.encode(x))), rel=1e-12)
    assert abs(whole - per_batch) > 1e-3


def test_identity_explains_everything_and_density_counts():
    x = draw(30, 4) * (draw(30, 4, seed=1) > 0)
    x[:, 3] = 0
    rec = Recording.of(x, site="s")
    assert judge.reconstruction(rec, Identity("s", 4))["fvu"] == 0
    assert torch.equal(judge.density(rec, Identity("s", 4), batch=7), (x != 0).double().mean(0))
    assert judge.reconstruction(rec, Identity("s", 4))["dead"] == 0.25


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 99))
def test_matching_equals_all_permutations(true, found, seed):
    a, b = draw(true, 3, seed=seed), draw(found, 3, seed=seed + 1)
    cosine = [[abs(float(t @ f / t.norm() / f.norm())) for f in b] for t in a]
    assert judge.mmcs(b, a) == pytest.approx(sum(max(row) for row in cosine) / true, rel=1e-9)
    if true <= found:
        best = max(sum(cosine[i][p[i]] for i in range(true)) for p in permutations(range(found), true))
    else:
        best = max(sum(cosine[p[j]][j] for j in range(found)) for p in permutations(range(true), found))
    assert judge.matched_cosine(b, a) == pytest.approx(best / true, rel=1e-9)


def test_stability_of_seeds_against_the_null(planted):
    def fit(method, **more):
        return [method(planted.recording, latents=64, k=3, seed=s, **more) for s in (0, 1)]

    trained, random = fit(topk_sae, steps=300, batch=128, lr=0.02), fit(random_dictionary)
    assert judge.stability(trained) > judge.stability(random) + 0.15
    assert judge.stability(trained, matched=True) <= judge.stability(trained) + 1e-12
    assert judge.stability([trained[0], trained[0]]) == pytest.approx(1.0)
    with pytest.raises(UsageError, match="two"):
        judge.stability(trained[:1])


def test_refusals():
    with pytest.raises(ShapeError, match="one shape"):
        judge.fvu(draw(3, 2), draw(2, 2))
    with pytest.raises(Degenerate, match="vary"):
        judge.fvu(torch.ones(3, 2), draw(3, 2))
    with pytest.raises(ShapeError, match="one d"):
        judge.mmcs(draw(3, 2), draw(3, 4))
    with pytest.raises(ShapeError, match="features"):
        geometry.dimensionality(draw(3))


# ---- geometry ----


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 12), st.integers(1, 6), st.integers(0, 999), st.floats(-3, 3))
def test_dimensionalities_sum_to_at_most_the_rank(features, m, seed, spread):
    w = draw(features, m, seed=seed) * (10 ** (spread * draw(features, 1, seed=seed + 1)))
    share = geometry.dimensionality(w)
    assert bool(((share >= 0) & (share <= 1 + 1e-9)).all())
    assert float(share.sum()) <= torch.linalg.matrix_rank(w, rtol=1e-14) + 1e-6


def test_dimensionality_and_interference_equal_the_equations():
    w = draw(5, 3)
    for i in range(5):
        unit = w[i] / w[i].norm()
        others = sum(float(unit @ w[j]) ** 2 for j in range(5) if j != i)
        assert float(geometry.interference(w)[i]) == pytest.approx(others, rel=1e-10)
        power = float(unit @ w[i]) ** 2 + others
        assert float(geometry.dimensionality(w)[i]) == pytest.approx(float(w[i] @ w[i]) / power, rel=1e-10)
    assert geometry.dimensions_per_feature(w) == pytest.approx(3 / float((w**2).sum()), rel=1e-12)


def ring(n):
    angles = torch.arange(n) * 2 * math.pi / n
    return torch.stack([angles.cos(), angles.sin()], 1)


def test_the_polytopes_of_the_paper():
    corners = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / math.sqrt(3)
    z = math.sqrt(1 / 3)  # the square antiprism whose eight corners form a tight frame
    flat = math.sqrt(1 - z * z)
    antiprism = [[flat * math.cos(a + s), flat * math.sin(a + s), h] for h, s in ((z, 0.0), (-z, math.pi / 4))
                 for a in (0, math.pi / 2, math.pi, 3 * math.pi / 2)]  # fmt: skip
    shapes = {
        "dedicated": torch.eye(3), "digon": torch.tensor([[1.0], [-1.0]]), "triangle": ring(3), "pentagon": ring(5),
        "tetrahedron": corners, "square antiprism": torch.tensor(antiprism),
    }  # fmt: skip
    assert shapes.keys() == geometry.POLYTOPES.keys()
    for name, w in shapes.items():
        want = torch.full((len(w),), geometry.POLYTOPES[name], dtype=torch.float64)
        torch.testing.assert_close(geometry.dimensionality(w), want, rtol=1e-5, atol=1e-5)


def test_an_absent_feature_has_no_dimension():
    w = torch.cat([torch.eye(2), torch.zeros(1, 2)])
    assert geometry.dimensionality(w).tolist() == [1.0, 1.0, 0.0]
    assert geometry.norms(w).tolist() == [1.0, 1.0, 0.0]

"""Semi-non-negative factors and k-means against loops, exact least squares, library peers and planted features."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from microtome.decompose import kmeans, pca, semi_nmf, snmf
from microtome.decompose.data import survey
from microtome.decompose.judge import fvu, mmcs
from microtome.decompose.semi_factors import factorise, multiplicative, projected, start
from microtome.errors import Degenerate, NonFinite, UsageError
from microtome.subject.basis import Basis, edit_through, load_basis
from microtome.subject.recording import Recording


def signed(rows=600, d=80, k=5, share=0.1, seed=0):
    """Features of few random-sign units, each active on 30% of the rows."""
    g = torch.Generator().manual_seed(seed)
    features = torch.zeros(k, d, dtype=torch.float64)
    for row in features:
        chosen = torch.randperm(d, generator=g)[: int(share * d)]
        row[chosen] = torch.randint(0, 2, (len(chosen),), generator=g).double() * 2 - 1
    codes = -torch.rand(rows, k, generator=g).double().log() * (torch.rand(rows, k, generator=g) < 0.3)
    x = codes @ features + 0.02 * torch.randn(rows, d, generator=g).double()
    return Recording.of(x, site="hidden"), features


def best(rec, **settings):
    """The best of the starts: the problem is not convex."""
    fits = [snmf(rec, components=5, share=0.1, init=how, **settings) for how in ("svd", "kmeans", "random")]
    return min(fits, key=lambda basis: basis.metrics["fvu"])


def oracle_step(x, z, keep):
    """One SNMF step in the paper's orientation (neurons x tokens), with loops; returns directions, codes, loss."""
    a, g = x.T, z.copy()
    ridge = 1e-6 * np.mean(np.sum(g * g, 0))
    f = a @ g @ np.linalg.inv(g.T @ g + ridge * np.eye(g.shape[1]))
    for k in range(f.shape[1]):
        small = np.argsort(-np.abs(f[:, k]))[keep:]
        f[small, k] = 0.0
    norms = np.linalg.norm(g, axis=0)
    g, f = g / norms, f * norms
    p, q = a.T @ f, f.T @ f
    plus, minus = lambda m: (np.abs(m) + m) / 2, lambda m: (np.abs(m) - m) / 2
    new = np.empty_like(g)
    for n in range(len(g)):
        for k in range(g.shape[1]):
            up = plus(p[n, k]) + g[n] @ minus(q[:, k])
            down = minus(p[n, k]) + g[n] @ plus(q[:, k]) + 1e-6
            new[n, k] = g[n, k] * np.sqrt(up / down)
    return f.T, new, np.sum((a - f @ new.T) ** 2)


def test_snmf_matches_the_oracle_step_by_step():
    rec, _ = signed(rows=60, d=12, k=3)
    x = rec.matrix().numpy()
    z = np.random.default_rng(0).random((60, 3)) + 0.1
    fitted = factorise(rec, [torch.from_numpy(z.copy())], multiplicative, keep=4, steps=6)
    losses, best = [], (np.inf, None)
    for _ in range(6):
        h, z, loss = oracle_step(x, z, 4)
        losses.append(loss)
        best = min(best, (loss, h), key=lambda pair: pair[0])
    np.testing.assert_allclose(fitted.history, losses, rtol=1e-8)
    np.testing.assert_allclose(fitted.directions.numpy(), best[1], rtol=1e-7, atol=1e-9)


def test_dense_updates_never_lose_and_projection_is_at_least_as_good():
    rec, _ = signed()
    ends = {}
    for update in (multiplicative, projected):
        history = factorise(rec, start(rec, survey(rec), 5, "svd", 0), update, steps=60).history
        assert all(b <= a * (1 + 1e-9) for a, b in pairwise(history))
        ends[update] = history[-1]
    assert ends[projected] <= ends[multiplicative]


def test_semi_nmf_recovers_planted_codes_as_well_as_rank_allows():
    rec, _ = signed()
    basis = semi_nmf(rec, components=5)
    floor = pca(rec, components=5).metrics["fvu"]
    assert basis.metrics["fvu"] < 1.3 * floor + 1e-3
    assert bool((basis.encode(rec.matrix()) >= 0).all())


def test_snmf_recovers_planted_features_that_pca_mixes_and_finds_none_in_permuted_units():
    rec, features = signed()
    basis = best(rec, steps=200)
    assert mmcs(basis.directions, features) > 0.97
    assert mmcs(pca(rec, components=5).directions, features) < 0.9
    assert set((basis.directions != 0).sum(1).tolist()) == {8}
    g = torch.Generator().manual_seed(1)
    mixed = torch.stack([c[torch.randperm(len(c), generator=g)] for c in rec.matrix().T], 1)
    null = best(Recording.of(mixed, site="hidden"), steps=200)
    assert null.metrics["fvu"] > 10 * basis.metrics["fvu"]


def test_encoding_equals_exact_non_negative_least_squares_on_new_rows():
    from scipy.optimize import nnls

    rec, _ = signed()
    basis = best(rec, steps=100)
    x = torch.randn(20, 80, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    want = np.stack([nnls(basis.directions.T.numpy(), row)[0] for row in x.numpy()])
    np.testing.assert_allclose(basis.encode(x).numpy(), want, atol=1e-7)


def test_kmeans_equals_its_peer_in_scikit_learn():
    from sklearn.cluster import KMeans

    g = torch.Generator().manual_seed(0)
    centres = 6 * torch.randn(4, 5, generator=g, dtype=torch.float64)
    x = centres[torch.randint(0, 4, (400,), generator=g)] + 0.3 * torch.randn(400, 5, generator=g, dtype=torch.float64)
    basis, peer = kmeans(Recording.of(x, site="s"), components=4), KMeans(4, n_init=10, random_state=0).fit(x.numpy())
    assert float(((x - basis.decode(basis.encode(x))) ** 2).sum()) == pytest.approx(peer.inertia_, rel=1e-9)
    by_hand = torch.stack([((row - basis.centres) ** 2).sum(1).argmin() for row in x])
    assert torch.equal(basis.assign(x), by_hand)
    assert fvu(x, basis.decode(basis.encode(x))) == pytest.approx(basis.metrics["fvu"])


METHODS = {"snmf": lambda r: snmf(r, components=5, share=0.1, steps=20), "kmeans": lambda r: kmeans(r, components=5),
           "semi_nmf": lambda r: semi_nmf(r, components=5, steps=10)}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_a_basis_that_saves(name, tmp_path):
    rec, _ = signed(rows=200)
    basis = METHODS[name](rec)
    assert isinstance(basis, Basis)
    assert basis.name == name
    basis.save(tmp_path / "b")
    back = load_basis(tmp_path / "b")
    x = rec.matrix()
    assert torch.equal(back.encode(x), basis.encode(x))
    assert back.history == basis.history
    assert torch.equal(edit_through(basis, x, basis.encode(x)), x)
    assert METHODS[name](rec.save(tmp_path / "rec")).fingerprint == basis.fingerprint


@pytest.mark.parametrize("how", ["svd", "kmeans", "random"])
def test_starts_are_positive_and_take_more_components_than_units(how):
    rec, _ = signed(rows=80, d=6, k=2, share=0.5)
    codes = start(rec, survey(rec), 9, how, 0)
    assert codes[0].shape == (80, 9)
    assert float(codes[0].min()) >= 1e-6
    assert snmf(rec, components=9, share=0.5, init=how, steps=20).metrics["fvu"] < 0.5


def test_refusals():
    rec, _ = signed(rows=30)
    with pytest.raises(UsageError, match="svd"):
        snmf(rec, components=3, init="swd")
    for share in (0, 1.5, -1):
        with pytest.raises(UsageError, match="share"):
            snmf(rec, components=3, share=share)
    for method in (snmf, semi_nmf, kmeans):
        with pytest.raises(UsageError, match="components"):
            method(rec, components=31)
        with pytest.raises(Degenerate, match="equal"):
            method(Recording.of(torch.full((9, 3), 0.1), site="s"), components=2)
        with pytest.raises(NonFinite):
            method(Recording.of(torch.tensor([[1.0, float("nan")], [0.0, 1.0]]), site="s"), components=1)

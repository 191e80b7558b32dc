"""PCA, ICA, NMF and random bases against library peers, exact identities and planted sources."""

import numpy as np
import pytest
import torch

from microtome.decompose import ica, nmf, pca, random_basis, random_dictionary
from microtome.decompose.judge import matched_cosine, reconstruction, stability
from microtome.errors import Degenerate, NonFinite, UsageError
from microtome.subject.basis import Basis, edit_through, load_basis
from microtome.subject.recording import Recording


def sources(rows=1500, count=4, d=6, seed=0, negative=True, dtype=torch.float64):
    """Independent, skewed sources and their mixing directions."""
    g = torch.Generator().manual_seed(seed)
    s = torch.rand(rows, count, generator=g, dtype=dtype) ** 4 * (torch.rand(rows, count, generator=g) < 0.5)
    mix = torch.randn(count, d, generator=g, dtype=dtype)
    mix = mix if negative else mix.relu() + 0.01
    return Recording.of(s @ mix + (5.0 if negative else 0.0), site="hidden"), mix


METHODS = {
    "pca": lambda r: pca(r), "ica": lambda r: ica(r), "random_basis": lambda r: random_basis(r),
    "nmf": lambda r: nmf(r, components=4),
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_a_basis_that_saves(name, tmp_path):
    rec, _ = sources(negative=name != "nmf")
    basis = METHODS[name](rec)
    x = rec.matrix()
    assert isinstance(basis, Basis)
    assert (basis.site, basis.name) == ("hidden", name)
    assert METHODS[name](rec).fingerprint == basis.fingerprint
    basis.save(tmp_path / "b")
    back = load_basis(tmp_path / "b")
    assert torch.equal(back.encode(x), basis.encode(x))
    assert back.metrics == basis.metrics
    assert torch.equal(edit_through(basis, x, basis.encode(x)), x)
    stored = METHODS[name](rec.save(tmp_path / "rec"))
    assert stored.fingerprint == basis.fingerprint
    # One row at a time or all together: the same code.
    torch.testing.assert_close(basis.encode(x[5:6]), basis.encode(x)[5:6], rtol=1e-9, atol=1e-9)


def test_pca_equals_its_peer_in_scikit_learn():
    from sklearn.decomposition import PCA

    rec, _ = sources(count=6)
    basis, peer = pca(rec, components=3), PCA(3, svd_solver="full").fit(rec.matrix().numpy())
    cosine = (basis.directions.numpy() * peer.components_).sum(1)
    np.testing.assert_allclose(np.abs(cosine), 1, rtol=1e-10)
    np.testing.assert_allclose(basis.history["explained"], peer.explained_variance_ratio_, rtol=1e-10)
    assert basis.metrics["fvu"] == pytest.approx(1 - peer.explained_variance_ratio_.sum(), rel=1e-9)
    assert bool((basis.directions.gather(1, basis.directions.abs().argmax(1, keepdim=True)) > 0).all())


def test_pca_keeps_the_rank_and_beats_every_random_basis():
    rec, _ = sources()
    assert pca(rec).dim == 4
    assert pca(rec).metrics["fvu"] < 1e-12
    best = pca(rec, components=2).metrics["fvu"]
    null = [random_basis(rec, components=2, seed=s).metrics["fvu"] for s in range(20)]
    assert best < min(null)
    assert all(0 < value < 1 for value in null)


def test_ica_recovers_planted_sources_and_pca_does_not():
    rec, mix = sources(rows=3000)
    assert matched_cosine(ica(rec).directions, mix) > 0.97
    assert matched_cosine(pca(rec).directions, mix) < 0.93
    z = ica(rec).encode(rec.matrix())
    torch.testing.assert_close(z.var(0, correction=0), torch.ones(4, dtype=torch.float64), rtol=1e-6, atol=1e-6)
    assert bool(((z - z.mean(0)) ** 3).mean(0).gt(0).all())
    assert stability([ica(rec, seed=0), ica(rec, seed=1)], matched=True) > 0.99


def test_nmf_recovers_parts_and_its_codes_are_the_exact_least_squares():
    from scipy.optimize import nnls

    g = torch.Generator().manual_seed(0)
    parts = torch.block_diag(*[torch.rand(1, 3, generator=g) + 0.2 for _ in range(4)]).double()
    codes = torch.rand(600, 4, generator=g).double() * (torch.rand(600, 4, generator=g) < 0.5)
    rec = Recording.of(codes @ parts, site="hidden")
    basis = nmf(rec, components=4)
    assert matched_cosine(basis.directions, parts) > 0.999
    x = torch.randn(30, 12, generator=g).double()
    mixed = type(basis)("s", torch.rand(5, 12, generator=g).double())
    want = np.stack([nnls(mixed.parts.T.numpy(), row)[0] for row in x.numpy()])
    np.testing.assert_allclose(mixed.encode(x).numpy(), want, atol=1e-7)
    assert bool((mixed.encode(x) >= 0).all())


def test_nmf_names_the_way_out_for_negative_values():
    rec, _ = sources()
    with pytest.raises(UsageError, match=r"needs values >= 0.*pca, ica or topk_sae"):
        nmf(Recording.of(rec.matrix() - 6, site="hidden"))


def test_random_basis_leaves_unexplained_what_the_closed_form_says():
    rec, _ = sources(count=6)
    basis = random_basis(rec, components=3, seed=5)
    covariance = torch.cov(rec.matrix().T, correction=0)
    explained = torch.trace(basis.directions @ covariance @ basis.directions.T) / torch.trace(covariance)
    assert basis.metrics["fvu"] == pytest.approx(1 - float(explained), rel=1e-9)
    identity = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(basis.directions @ basis.directions.T, identity, rtol=1e-10, atol=1e-10)


def test_random_dictionary_is_the_best_scaled_one(planted):
    basis = random_dictionary(planted.recording, latents=64, k=3)
    for factor in (0.9, 1.1):
        other = type(basis)(
            "hidden", W_enc=factor * basis.W_enc, b_enc=basis.b_enc, W_dec=basis.W_dec, b_dec=basis.b_dec,
            activation="topk", k=3,
        )  # fmt: skip
        assert reconstruction(planted.recording, other)["fvu"] > basis.metrics["fvu"]
    assert 0.3 < basis.metrics["fvu"] < 1


@pytest.mark.parametrize("method", [pca, ica, random_basis])
def test_refusals(method):
    rec, _ = sources(rows=50)
    for bad in (0, 7, 1.5, True):
        with pytest.raises(UsageError, match="components"):
            method(rec, components=bad)
    with pytest.raises(Degenerate, match="equal"):
        method(Recording.of(torch.full((9, 3), 0.1), site="s"))
    with pytest.raises(NonFinite, match="units"):
        method(_Raw(torch.tensor([[1.0, 2.0], [3.0, float("nan")], [1.0, 0.0]])))


class _Raw(Recording):
    """A recording that was never checked, as a file from elsewhere may be."""

    def __init__(self, matrix):
        self._matrix, self.sites, self.provenance = matrix, ("s",), {}

    def batches(self, size, seed=None):
        return iter(self._matrix.split(size))


@pytest.mark.parametrize("method", [pca, ica, random_basis])
def test_a_constant_unit_and_low_rank_give_finite_results(method):
    rec, _ = sources()
    x = torch.cat([rec.matrix(), torch.full((len(rec), 1), 3.0, dtype=torch.float64)], 1)
    basis = method(Recording.of(x, site="s"))
    assert all(bool(torch.isfinite(t).all()) for t in basis.tensors().values())
    assert basis.metrics["fvu"] < 1e-9

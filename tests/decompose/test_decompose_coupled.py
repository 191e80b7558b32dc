"""Coupled factors: one code for several sites, an objective that never rises, and the parts that were planted."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from microtome.decompose import CoupledParts, coupled_nmf
from microtome.decompose.coupled_nmf import factorise
from microtome.errors import Degenerate, UsageError
from microtome.subject.basis import load_basis
from microtome.subject.recording import Recording


def drawn(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def planted(rows=120, seed=0):
    """Three concepts that share no unit at either site; the second site is a hundred times larger."""
    z = drawn(rows, 3, seed=seed) * (drawn(rows, 3, seed=seed + 1) < 0.5)
    a, b = torch.kron(torch.eye(3), torch.ones(1, 4)).double(), 100 * torch.eye(3, 5).double()
    return z, Recording.of({"a": z @ a, "b": z @ b})


def test_coupled_nmf_recovers_planted_concepts_at_every_site():
    z, recording = planted()
    basis = coupled_nmf(recording, components=3, steps=500)
    codes = basis.encode(torch.cat([recording["a"].matrix(), recording["b"].matrix()], 1))
    r = np.abs(np.corrcoef(codes.T, z.T)[:3, 3:])
    assert r.max(0).min() > 0.999
    assert min(basis.metrics["fit/a"], basis.metrics["fit/b"]) > 0.999
    for i, concept in enumerate(r.argmax(1)):  # what a part writes at one site is what it writes at the other
        assert int(basis.by_site()["a"][i].argmax()) // 4 == concept
        assert int(basis.by_site()["b"][i].argmax()) == concept


def by_hand(x, codes, parts, decay, sparsity):
    """One update of both factors by loops over entries."""
    new = parts.copy()
    for r in range(parts.shape[0]):
        for j in range(parts.shape[1]):
            up = sum(codes[i, r] * x[i, j] for i in range(len(x)))
            down = sum((codes.T @ codes)[r, k] * parts[k, j] for k in range(len(parts))) + decay * parts[r, j]
            new[r, j] = parts[r, j] * up / (down + 1e-12)
    out = codes.copy()
    for i in range(len(x)):
        for r in range(len(parts)):
            up = sum(x[i, j] * new[r, j] for j in range(x.shape[1]))
            down = sum(codes[i, k] * (new @ new.T)[k, r] for k in range(len(parts))) + decay * codes[i, r] + sparsity
            out[i, r] = codes[i, r] * up / (down + 1e-12)
    return out, new


@pytest.mark.parametrize(("decay", "sparsity"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.2), (0.1, 0.1)])
def test_an_update_of_coupled_nmf_equals_that_by_hand(decay, sparsity):
    x = drawn(5, 4)
    codes, parts, _ = factorise(x, 2, decay, sparsity, 1, 0)
    again, loss = factorise(x, 2, decay, sparsity, 2, 0)[:2], factorise(x, 2, decay, sparsity, 2, 0)[2]
    want = by_hand(x.numpy(), codes.numpy(), parts.numpy(), decay, sparsity)
    np.testing.assert_allclose(again[0], want[0], rtol=1e-10)
    np.testing.assert_allclose(again[1], want[1], rtol=1e-10)
    error = ((x.numpy() - want[0] @ want[1]) ** 2).sum()
    penalty = decay * ((want[0] ** 2).sum() + (want[1] ** 2).sum()) + 2 * sparsity * want[0].sum()
    assert loss[-1] == pytest.approx(error + penalty, rel=1e-10)


@pytest.mark.parametrize(("decay", "sparsity"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5)])
def test_the_objective_never_rises(decay, sparsity):
    recording = Recording.of({"a": drawn(60, 7), "b": drawn(60, 5, seed=3)})
    loss = coupled_nmf(recording, components=4, decay=decay, sparsity=sparsity, steps=200).history["loss"]
    assert len(loss) == 200
    assert max(b - a for a, b in pairwise(loss)) <= 1e-8


def test_sites_count_alike_whatever_their_scale():
    a, b = drawn(60, 7), drawn(60, 5, seed=3)
    one, other = (coupled_nmf(Recording.of({"a": a, "b": s * b}), components=3) for s in (1.0, 1000.0))
    torch.testing.assert_close(one.parts, other.parts)
    torch.testing.assert_close(1000 * one.by_site()["b"], other.by_site()["b"])


def test_saved_and_loaded(tmp_path):
    basis = coupled_nmf(planted()[1], components=3, steps=20)
    basis.save(tmp_path / "basis")
    again = load_basis(tmp_path / "basis")
    assert isinstance(again, CoupledParts)
    x = drawn(4, 17)
    assert torch.equal(again.encode(x), basis.encode(x))
    assert again.sites == ("a", "b")


def test_refusals():
    x = drawn(20, 4)
    for sites, words in (({"a": x}, "at least two"), ({"a": x, "b": x - 0.5}, "values >= 0")):
        with pytest.raises(UsageError, match=words):
            coupled_nmf(Recording.of(sites), components=2)
    with pytest.raises(Degenerate, match="'b' is 0"):
        coupled_nmf(Recording.of({"a": x, "b": 0 * x}), components=2)
    with pytest.raises(UsageError, match="decay"):
        coupled_nmf(Recording.of({"a": x, "b": x}), components=2, decay=-1.0)

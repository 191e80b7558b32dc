"""How latents are used, which are alike, and their map: exact counts, a slow oracle, and what is refused."""

import numpy as np
import pytest
import torch

from microtome.decompose import topk_sae
from microtome.decompose.latents import latents, neighbours
from microtome.decompose.plane import plane
from microtome.errors import Degenerate, MissingExtra, UsageError
from microtome.subject.basis import Identity
from microtome.subject.recording import Recording


def sparse(rows=5000, width=5, seed=0):
    g = np.random.default_rng(seed)
    x = g.normal(size=(rows, width)) * (g.random((rows, width)) < 0.3)
    x[:, 3] = 0
    return x


def test_figures_equal_a_slow_oracle_over_several_batches():
    x = sparse()
    found = latents(Recording.of(torch.from_numpy(x), site="h"), Identity("h", 5), bins=7)
    for i in range(5):
        values = x[:, i][x[:, i] != 0]
        assert float(found.rate[i]) == pytest.approx(len(values) / len(x))
        assert float(found.energy[i]) == pytest.approx((x[:, i] ** 2).mean())
        if len(values):
            counts, edges = np.histogram(values, bins=7)
            np.testing.assert_allclose(found.edges(i), edges, rtol=1e-6)
            assert found.counts[i].tolist() == counts.tolist()
            assert float(found.mean[i]) == pytest.approx(values.mean())
    assert [float(v[3]) for v in (found.rate, found.mean, found.smallest, found.largest)] == [0, 0, 0, 0]
    assert found.counts[3].tolist() == [0] * 7


def test_a_dictionary_has_a_row_per_latent_with_its_neighbour():
    recording = Recording.of(torch.from_numpy(sparse(600)).float(), site="h")
    sae = topk_sae(recording, latents=12, k=2, steps=20, batch=64, lr=5e-3)
    table = latents(recording, sae).table(sae.directions)
    unit = torch.nn.functional.normalize(sae.directions.double(), dim=1)
    cosine = unit @ unit.T - 2 * torch.eye(12)
    assert table["neighbour"].tolist() == cosine.argmax(1).tolist()
    np.testing.assert_allclose(table["cosine"], cosine.amax(1), rtol=1e-9)
    z = sae.encode(recording.matrix())
    np.testing.assert_allclose(table["rate"], (z != 0).double().mean(0))


def test_neighbours_of_many_directions_agree_with_the_whole_matrix():
    w = torch.from_numpy(np.random.default_rng(0).normal(size=(1500, 6)))
    values, places = neighbours(w, 3)
    unit = torch.nn.functional.normalize(w, dim=1)
    whole = (unit @ unit.T).fill_diagonal_(-2).topk(3, dim=1)
    torch.testing.assert_close(values, whole.values)
    assert torch.equal(places, whole.indices)
    assert neighbours(w[:2], 5)[1].tolist() == [[1], [0]]


def test_the_map_keeps_clusters_together_and_repeats():
    g = np.random.default_rng(0)
    centres = np.eye(4, 10) * 5
    kind = np.arange(80) % 4
    x = torch.from_numpy(centres[kind] + 0.3 * g.normal(size=(80, 10)))
    places = plane(x, layout="tsne", seed=1).numpy()
    distance = np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(80)
    assert (kind[distance.argmin(1)] == kind).all()
    np.testing.assert_array_equal(places, plane(x, layout="tsne", seed=1).numpy())
    flat = plane(x, layout="pca")
    assert flat.shape == (80, 2)
    assert float(flat[:, 0].var()) >= float(flat[:, 1].var())
    assert plane(torch.ones(3, 1) * torch.tensor([[1.0], [-1.0], [1.0]]), layout="pca")[:, 1].tolist() == [0, 0, 0]


def test_refusals(monkeypatch):
    recording = Recording.of(torch.ones(0, 2), site="h")
    with pytest.raises(Degenerate, match="rows"):
        latents(recording, Identity("h", 2))
    with pytest.raises(UsageError, match="bins"):
        latents(recording, Identity("h", 2), bins=-1)
    with pytest.raises(UsageError, match="umap"):
        plane(torch.randn(9, 3), layout="map")
    with pytest.raises(Degenerate, match="three"):
        plane(torch.ones(2, 3))
    with pytest.raises(Degenerate, match="alike"):
        plane(torch.ones(9, 3))
    monkeypatch.setitem(__import__("sys").modules, "umap", None)
    with pytest.raises(MissingExtra, match="microtome\\[map\\]"):
        plane(torch.randn(9, 3), layout="umap")

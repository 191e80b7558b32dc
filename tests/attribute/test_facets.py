"""Facets of a unit: codes, groups, where climbs begin, how they are brushed, and what is said of them."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from microtome.attribute import channel, multifaceted_viz
from microtome.attribute.facets import clouds, grouped, nearest_means, reduced
from microtome.attribute.visual.brushes import BROAD, blurred, central, centred
from microtome.errors import Degenerate, NonFinite
from microtome.evidence import Finding
from microtome.testing.worlds.multifaceted_viz import world


def test_codes_agree_with_scikit_learn():
    decomposition = pytest.importorskip("sklearn.decomposition")
    x = np.random.default_rng(0).normal(size=(30, 8)) @ np.random.default_rng(1).normal(size=(8, 12))
    peer = decomposition.PCA(5).fit_transform(x)
    assert np.allclose(np.abs(reduced(x, 5)), np.abs(peer), atol=1e-8)
    assert reduced(x, 50).shape == (30, 8)
    with pytest.raises(NonFinite, match="codes"):
        reduced(np.full((3, 2), np.nan), 2)
    with pytest.raises(Degenerate, match="the same"):
        reduced(np.ones((4, 2)), 2)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_groups_are_sorted_by_size_and_their_number_is_found():
    g = np.random.default_rng(0)
    sizes = (5, 20, 11)
    x = np.concatenate([g.normal(size=(n, 3)) + 20 * i for i, n in enumerate(sizes)])
    groups = grouped(x, None, 0)
    assert np.bincount(groups.labels).tolist() == sorted(sizes, reverse=True)
    assert np.allclose(groups.centres, [x[5:25].mean(0), x[25:].mean(0), x[:5].mean(0)])
    assert groups.separation > 0.8 > 0.6 > clouds(x, 3, 0).max()
    with pytest.raises(Degenerate, match="different codes"):
        grouped(np.repeat([[0.0], [1.0]], 5, axis=0), 3, 0)


def test_starts_equal_the_means_of_the_nearest_by_hand():
    g = np.random.default_rng(1)
    codes, images = g.normal(size=(20, 2)), torch.tensor(g.random((20, 1, 3, 3)))
    groups = grouped(codes, 2, 0)
    for i, start in enumerate(nearest_means(images, codes, groups, 4)):
        mine = [k for k in range(20) if groups.labels[k] == i]
        near = sorted(mine, key=lambda k: math.dist(codes[k], groups.centres[i]))[:4]
        assert torch.allclose(start, sum(images[k] for k in near) / len(near))


def test_blurring_matches_a_slow_sum_and_keeps_the_total():
    x = torch.randn(2, 1, 5, 4, generator=torch.Generator().manual_seed(0))
    reach = 3
    kernel = [math.exp(-0.5 * i * i) for i in range(-reach, reach + 1)]

    def mirrored(i: int, n: int) -> int:
        i %= 2 * n
        return i if i < n else 2 * n - 1 - i

    slow = torch.zeros_like(x)
    for y in range(5):
        for c in range(4):
            for i, a in enumerate(kernel):
                for j, b in enumerate(kernel):
                    slow[:, :, y, c] += a * b * x[:, :, mirrored(y + i - reach, 5), mirrored(c + j - reach, 4)]
    found = blurred(x, 1.0)
    assert torch.allclose(found, slow / sum(kernel) ** 2, atol=1e-6)
    assert torch.allclose(found.sum(), x.sum(), atol=1e-5)
    assert torch.allclose(blurred(x, 1e-3), x)
    assert blurred(x[..., 0], 0.5).shape == (2, 1, 5)


def test_the_brush_is_broad_first_then_grows_from_the_centre():
    brush, g = centred(30, (6, 6)), torch.zeros(1, 1, 6, 6)
    g[..., 0, 0] = 1.0
    assert int((brush(0, g) > 1e-4).sum()) > 4
    corner = [float(brush(step, g)[0, 0, 0, 0]) for step in range(int(30 * BROAD), 30)]
    assert corner == sorted(corner)
    assert corner[0] < 0.05 < 0.5 < corner[-1]
    assert central((5,), 1.0)[2] == 1.0
    assert central((4, 4), 0.5)[0, 0] == pytest.approx(math.exp(-(2 * 0.75**2) / 0.5))


def test_planted_facets_are_found_and_each_picture_shows_its_own():
    planted = world(0)
    found = multifaceted_viz(planted.subject, 0, planted.images, steps=30, nearest=5)
    kinds = [int(planted.kind[torch.from_numpy(found.labels == i)].double().mean().round()) for i in range(2)]
    bars = [planted.images[planted.kind == k].mean(0) for k in range(2)]
    assert sorted(kinds) == [0, 1]
    for i, k in enumerate(kinds):
        alike = [torch.corrcoef(torch.stack([found.made.images[i].flatten(), b.flatten()]))[0, 1] for b in bars]
        assert alike[k] > alike[1 - k] + 0.3
    assert found.made.null is not None
    assert found.shares.sum() == pytest.approx(1.0)
    assert found.shares[0] >= found.shares[1]
    assert found.table["share"].tolist() == found.shares.tolist()
    assert (found.made.score > found.made.curve[0]).all()
    told = found.finding()
    assert told.verdict == "supported"
    assert Finding.from_json(told.to_json()) == told


def test_only_the_most_exciting_pictures_are_used_and_any_unit_will_do():
    planted = world(1)
    with torch.no_grad():
        value = planted.subject.module[1](planted.images.flatten(1))[:, 0]
    found = multifaceted_viz(planted.subject, channel("1", 0), planted.images, at="0", top=15, facets=2, steps=3, twin=None)
    assert set(np.flatnonzero(found.labels >= 0)) == set(value.topk(15).indices.tolist())
    assert found.made.null is None
    assert found.plane.shape == (15, 2)
    assert found.site == "0"


def test_one_cloud_is_not_taken_for_facets():
    g = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    from microtome.subject.subject import Subject

    verdicts = []
    for _ in range(5):
        x = torch.randn(60, 1, 4, 4, generator=g)
        verdicts.append(multifaceted_viz(Subject(net), 0, x, facets=3, steps=2, twin=None).finding().verdict)
    assert verdicts.count("supported") <= 1

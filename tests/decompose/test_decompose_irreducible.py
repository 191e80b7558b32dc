"""Separability, mixture index, groups of latents, circles; small exact cases and slow oracles."""

import math

import numpy as np
import pytest
import torch

import microtome as mt
from microtome.decompose import circle_basis, cluster_plane, multi_dim_features
from microtome.decompose.circle import circular_agreement
from microtome.decompose.clusters import by_cosine, by_jaccard, principal, written
from microtome.decompose.irreducible import mixture_index, separability
from microtome.errors import Degenerate, NonFinite, ShapeError, SubjectMismatch, UsageError
from microtome.subject.basis import Linear


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ring(n=2000, values=7, noise=0.15, seed=0):
    angle = (torch.arange(n) % values) * 2 * math.pi / values
    return torch.stack([angle.cos(), angle.sin()], 1).double() + noise * draw(n, 2, seed=seed)


def slow_information(a, b, bins):
    """Mutual information in bits by loops over cells."""
    n = len(a)
    cells = [[0] * bins for _ in range(bins)]
    for x, y in zip(a, b, strict=True):
        i = min(int((x - min(a)) * (bins / (max(a) - min(a)))), bins - 1)
        j = min(int((y - min(b)) * (bins / (max(b) - min(b)))), bins - 1)
        cells[i][j] += 1
    total = 0.0
    for i in range(bins):
        for j in range(bins):
            p, row, column = cells[i][j] / n, sum(cells[i]) / n, sum(r[j] for r in cells) / n
            total += p * math.log2(p / (row * column)) if p else 0.0
    return total


def test_information_equals_counting_by_loops():
    from microtome.decompose.irreducible import _binned, _information

    a, b = draw(80, 3).numpy(), draw(80, 3, seed=1).numpy()
    found = _information(_binned(a, 4), _binned(b, 4), 4)
    assert found == pytest.approx([slow_information(a[:, i].tolist(), b[:, i].tolist(), 4) for i in range(3)], abs=1e-12)


def test_mixture_index_is_a_count_no_strip_of_a_fine_search_beats_by_much():
    y = ring(400, noise=0.3).numpy()
    y = (y - y.mean(0)) / y.std(0)
    stream, best = np.random.default_rng(0), 0.0
    for _ in range(20_000):
        angle, c = stream.uniform(0, math.pi), stream.uniform(-2, 2)
        z = y @ [math.cos(angle), math.sin(angle)] + c
        best = max(best, float((abs(z) < 0.1 * math.sqrt((z**2).mean())).mean()))
    assert mixture_index(torch.from_numpy(y)) == pytest.approx(best, abs=0.03)


def test_the_clouds_of_the_paper_and_their_rotations():
    g = torch.Generator().manual_seed(0)
    exponentials = -torch.rand(3000, 2, generator=g).double().log()
    for turn in (0.0, 0.4):
        r = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]).double()
        assert separability(ring() @ r) > 0.5
        assert mixture_index(ring() @ r) < 0.25
        assert abs(separability(draw(3000, 2) @ r)) < 0.05
    assert abs(separability(exponentials)) < 0.05
    assert separability(ring(), seed=3) == separability(ring(), seed=3)


@pytest.mark.parametrize("score", [separability, mixture_index])
def test_clouds_that_cannot_be_judged_are_refused(score):
    for cloud, error, words in (
        (draw(30, 3), ShapeError, "n, 2"), (draw(5, 2), Degenerate, "few"), (torch.full((30, 2), torch.nan), NonFinite, "NaN"),
        (torch.stack([draw(30), torch.ones(30).double()], 1), Degenerate, "line"),
    ):  # fmt: skip
        with pytest.raises(error, match=words):
            score(cloud)
    with pytest.raises(UsageError):
        score(draw(30, 2), angles=0)


def test_groups_are_components_of_the_neighbour_graph():
    angle = torch.arange(7) * 2 * math.pi / 7
    directions = torch.zeros(9, 4)
    directions[:7, 0], directions[:7, 1] = angle.cos(), angle.sin()
    directions[7, 2] = directions[8, 3] = 1
    assert by_cosine(directions) == [list(range(7))]
    assert by_cosine(directions, cosine=0.7) == []
    assert by_cosine(5 * directions) == by_cosine(directions)
    assert by_cosine(directions[:1]) == []
    fired = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 1], [0, 0, 1, 0], [0, 0, 1, 1.0]])
    assert by_jaccard(fired, overlap=0.6) == [[0, 1]]
    with pytest.raises(UsageError, match="neighbours"):
        by_cosine(directions, neighbours=0)


def test_what_a_group_writes_is_a_sum_over_its_latents():
    basis = Linear("s", draw(4, 5), draw(5, 4, seed=1))
    codes = draw(6, 5, seed=2) * (draw(6, 5, seed=3) > 0)
    codes[0, [1, 3]] = 0
    want = [sum(codes[r, i] * basis.directions[i] for i in (1, 3)) for r in range(6) if codes[r, 1] or codes[r, 3]]
    torch.testing.assert_close(written(basis, codes, [1, 3]), torch.stack(want))


def test_principal_components_equal_svd():
    y = draw(50, 4) * torch.tensor([3.0, 2.0, 1.0, 0.0]).double()
    scores, axes = principal(y)
    s = torch.linalg.svdvals(y - y.mean(0))
    torch.testing.assert_close(scores.square().sum(0).sqrt(), s[:3])
    torch.testing.assert_close(axes @ axes.T, torch.eye(3).double())


def planted_ring(rows=600, seed=0):
    """A ring in dimensions 0 and 1, noise in the others."""
    x = draw(rows, 5, seed=seed + 1)
    x[:, :2] = ring(rows, seed=seed)
    return mt.Recording.of(x, site="s"), torch.arange(rows) % 7


def test_a_planted_ring_is_ranked_first_and_its_plane_is_a_basis():
    recording, values = planted_ring()
    basis = Linear("s", torch.eye(5).double())
    found = multi_dim_features(recording, basis, clusters=[[2, 3], [0, 1]], bins=6)
    assert found.table["latents"].tolist() == ["0 1", "2 3"]
    assert found.verdict == "supported"
    assert found.table["p"].tolist()[0] == 0.05
    plane = cluster_plane(recording, basis, [0, 1])
    assert circular_agreement(plane.encode(recording.matrix()), values, period=7) > 0.9
    with pytest.raises(Degenerate, match="pair 3"):
        cluster_plane(recording, basis, [0, 1], pair=3)
    with pytest.raises(UsageError, match=r"0\.\.4"):
        cluster_plane(recording, basis, [0, 9])


def test_without_groups_nothing_is_claimed():
    recording, _ = planted_ring()
    found = multi_dim_features(recording, Linear("s", torch.eye(5).double()))
    assert found.verdict == "not supported"
    assert "No group" in found.claim


def test_a_latent_that_never_fires_joins_no_groups():
    x = ring(400).abs()
    x[::2, 0] = x[1::2, 1] = 0
    lines = torch.tensor([[1.0, 0, 0], [0.8, 0.6, 0], [0.6, 0.8, 0]]).double()  # 0 and 2 are joined by 1 alone
    dead = Linear("s", torch.stack([lines[0], torch.zeros(3).double(), lines[2]], 1), lines)
    recording = mt.Recording.of(torch.cat([x, draw(400, 1)], 1), site="s")
    assert by_cosine(dead.directions, cosine=0.7) == [[0, 1, 2]]
    assert multi_dim_features(recording, dead, cosine=0.7).table is None
    assert multi_dim_features(recording, Linear("s", lines.T.contiguous(), lines), cosine=0.7).table["size"].tolist() == [3]


def test_refusals_of_the_method():
    recording, _ = planted_ring()
    with pytest.raises(SubjectMismatch, match="'t'"):
        multi_dim_features(recording, Linear("t", torch.eye(5).double()))
    with pytest.raises(UsageError, match="radius"):
        multi_dim_features(recording, Linear("s", torch.eye(5).double()), radius=1.0)


def test_a_circle_reads_and_patches_the_value_and_nothing_else():
    recording, values = planted_ring()
    circle = circle_basis(recording, values, period=7, components=2)
    angle = values * 2 * math.pi / 7
    read = circle.encode(recording.matrix())
    assert float((read - torch.stack([angle.cos(), angle.sin()], 1)).square().mean()) < 0.05
    x = recording.matrix()
    other = x.roll(1, 0)
    patched = x + circle.decode(circle.encode(other)) - circle.decode(circle.encode(x))
    torch.testing.assert_close(circle.encode(patched), circle.encode(other))
    away = torch.linalg.qr(circle.directions.T, mode="complete").Q[:, 2:]
    torch.testing.assert_close(patched @ away, x @ away)


def test_circles_that_cannot_be_fitted_are_refused():
    recording, values = planted_ring()
    with pytest.raises(ShapeError, match="600 rows"):
        circle_basis(recording, values[1:], period=7)
    with pytest.raises(Degenerate, match="three"):
        circle_basis(recording, values % 2, period=7)
    with pytest.raises(UsageError, match="period"):
        circle_basis(recording, values, period=2)


def test_agreement_is_one_for_either_sense_and_small_for_shuffled_values():
    y, values = ring(700, noise=0.0), torch.arange(700) % 7
    assert circular_agreement(y, values, period=7) == pytest.approx(1.0, abs=1e-9)
    assert circular_agreement(y.flip(1), values, period=7) == pytest.approx(1.0, abs=1e-9)
    assert circular_agreement(y, values[torch.randperm(700, generator=torch.Generator().manual_seed(0))], period=7) < 0.15
    with pytest.raises(ShapeError, match="values"):
        circular_agreement(y, values[1:], period=7)

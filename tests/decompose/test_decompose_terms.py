"""Terms of a theory in a representation: loops as oracles, planted terms, collinear ones, helices, exchanged properties."""

import numpy as np
import pytest
import torch

from microtome.decompose import neurons_to_neutrons
from microtome.decompose.neurons_to_neutrons import gap, held_out, helix
from microtome.errors import Degenerate, ShapeError
from microtome.subject.recording import Recording


def made(seed=0, rows=200):
    """Rows of six units made of size, its square, and a parity that nothing else follows."""
    g = np.random.default_rng(seed)
    size, odd = g.uniform(1, 2, rows), g.integers(0, 2, rows).astype(float)
    x = np.stack([3 * size, odd, g.normal(size=rows)], 1) @ g.normal(size=(3, 6)) + 0.01 * g.normal(size=(rows, 6))
    return Recording.of(torch.tensor(x), site="h"), size, odd


def test_held_out_r2_equals_a_loop_over_folds():
    g = np.random.default_rng(0)
    c, fold = g.normal(size=(40, 3)), g.permutation(40) % 4
    t = np.stack([c[:, 0] + 0.3 * g.normal(size=40), g.normal(size=40)], 1)
    for j in range(2):
        error = 0.0
        for f in range(4):
            inside = fold == f
            a = np.concatenate([c[~inside], np.ones((int((~inside).sum()), 1))], 1)
            beta = np.linalg.solve(a.T @ a, a.T @ t[~inside, j])
            error += sum((t[i, j] - c[i] @ beta[:3] - beta[3]) ** 2 for i in np.flatnonzero(inside))
        assert held_out(c, t, fold)[j] == pytest.approx(1 - error / ((t[:, j] - t[:, j].mean()) ** 2).sum())


def test_planted_terms_are_recovered_and_their_component_is_named():
    """neurons_to_neutrons finds both; the partial R2 is that of the residual, here by hand."""
    recording, size, odd = made()
    found = neurons_to_neutrons(recording, {"size": size, "odd": odd}, components=3)
    assert found.verdict == "supported"
    assert (found.table[["r2", "partial"]] > 0.99).all(axis=None)
    a = np.stack([odd, np.ones(len(odd))], 1)
    residual = size - a @ np.linalg.lstsq(a, size, rcond=None)[0]
    again = neurons_to_neutrons(recording, {"residual": residual, "odd": odd}, components=3)
    assert again.table["r2"][0] == pytest.approx(found.table["partial"][0])


def test_a_collinear_term_is_matched_but_not_by_its_own_part():
    recording, size, odd = made()
    terms = {"size": size, "cube root": size ** (1 / 3), "odd": odd}
    table = neurons_to_neutrons(recording, terms, components=3).table.set_index("term")
    assert table.loc["cube root", "r2"] > 0.98
    assert table.loc["cube root", "partial"] < 0.5
    assert table.loc["odd", "partial"] > 0.99


def test_terms_of_other_rows_are_found_at_rate_alpha():
    """Of 20 pairings at random 5 are supported at 0.05 in fewer than 3 cases of 1000."""
    supported = 0
    for seed in range(20):
        recording, size, odd = made(seed, rows=80)
        order = np.random.default_rng(100 + seed).permutation(80)
        terms = {"size": size[order], "odd": odd[order]}
        found = neurons_to_neutrons(recording, terms, components=3, draws=19, seed=seed)
        assert found.estimate.value < 0.15
        supported += found.verdict == "supported"
    assert supported < 5


def test_a_helix_is_recovered_with_its_period():
    n = np.arange(60)
    g = np.random.default_rng(0)
    turn = np.stack([n / 20, np.cos(2 * np.pi * n / 12 + 1), np.sin(2 * np.pi * n / 12 + 1), 0.5 * (-1.0) ** n], 1)
    x = turn @ np.linalg.qr(g.normal(size=(4, 4)))[0] + 0.01 * g.normal(size=(60, 4))
    period, share, without = helix(x, n, range(5, 40))
    assert period == 12
    assert share > 0.99 > 0.7 > without
    _, share, without = helix(turn[:, [0, 3]], n, range(5, 40))
    assert share - without < 0.01
    with pytest.raises(ShapeError, match="period"):
        helix(x, n, [])


def test_the_gap_is_exact_where_a_component_is_not():
    """A property that also moves along the steep trajectory: sign flips of its component miss that part."""
    n = np.arange(80)
    s = np.where(n % 2 == 0, 1.0, -1.0)
    x = np.outer((n - 40) / 10, [1.0, 0.0]) + np.outer(s, [0.2, 0.3])
    assert np.allclose(gap(x, n, n % 2 == 0), np.outer(s, [0.2, 0.3]), atol=1e-9)
    _, _, axes = np.linalg.svd(x - x.mean(0), full_matrices=False)
    along = np.outer((x - x.mean(0)) @ axes[1], axes[1])
    assert abs(along - np.outer(s, [0.2, 0.3])).max() > 0.15
    with pytest.raises(Degenerate, match="labels"):
        gap(x, n, n >= 0)
    with pytest.raises(ShapeError, match="labels"):
        gap(x[:5], n[:5], n[:5] % 2 == 0)

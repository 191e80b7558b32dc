"""Waves, margins, representations and associative memories: closed forms, exact identities and slow oracles."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from microtome.decompose import associative, irreps, margins, periodic
from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.organisms.fit import fit
from microtome.organisms.pairs import Square, all_pairs, pair_network
from microtome.stimuli.algorithmic.groups import cyclic, dihedral, inverses, symmetric

DRAW = np.random.default_rng(0)


def wave(p, k, t):
    return torch.cos(2 * math.pi * k * torch.arange(p, dtype=torch.float64) / p + t)[None]


@pytest.mark.parametrize("p", [7, 12, 13])
def test_a_planted_wave_is_read_exactly_and_white_weights_are_not_periodic(p):
    for k in range(1, p // 2 + (p % 2)):
        number, share, phase = periodic.top_frequency(wave(p, k, 0.7) + 3.0)
        assert (int(number), float(share)) == (k, pytest.approx(1))
        assert float(phase) == pytest.approx(0.7)
    noise = torch.from_numpy(DRAW.normal(size=(400, p)))
    assert float(periodic.inverse_participation(noise).mean()) < 0.75
    torch.testing.assert_close(periodic.power_spectrum(noise).sum(1), torch.ones(400, dtype=torch.float64))


def test_the_spectrum_equals_an_oracle_of_sines():
    x, p = DRAW.normal(size=9), 9
    power = [sum((x * f(2 * np.pi * k * np.arange(p) / p)).sum() ** 2 for f in (np.cos, np.sin)) for k in range(1, 5)]
    np.testing.assert_allclose(periodic.power_spectrum(torch.from_numpy(x)[None])[0], np.array(power) / sum(power), rtol=1e-9)


def test_phases_that_add_have_no_mismatch_whatever_the_turn():
    for a, b in ((0.3, 0.4), (3.0, 2.9), (-2.0, -2.5)):
        parts = [wave(11, 4, t) for t in (a, b, a + b)]
        assert float(periodic.phase_mismatch(*parts)) < 1e-9
    assert float(periodic.phase_mismatch(wave(11, 4, 0), wave(11, 4, 0), wave(11, 4, 1.0))) == pytest.approx(1.0)


@pytest.mark.parametrize("p", [5, 7, 11])
def test_the_constructed_network_equals_the_closed_form_of_the_largest_margin(p):
    optimum = margins.addition_optimum(p)
    assert margins.normalised_margin(optimum) == pytest.approx(margins.largest_margin(p), rel=1e-9)
    assert margins.normalised_margin(tuple(3 * t for t in optimum)) == pytest.approx(margins.largest_margin(p), rel=1e-9)
    random = tuple(torch.from_numpy(DRAW.normal(size=(50, p))) for _ in "uvw")
    assert margins.normalised_margin(random) < 0.5 * margins.largest_margin(p)
    assert margins.normalised_margin(margins.addition_optimum(p, [1])) < margins.largest_margin(p)


def test_margins_equal_the_oracle_in_loops_and_logits_those_of_the_network():
    logits, answers = DRAW.normal(size=(6, 4)), DRAW.integers(0, 4, 6)
    want = [row[a] - max(v for c, v in enumerate(row) if c != a) for row, a in zip(logits, answers)]
    np.testing.assert_allclose(margins.margins(torch.from_numpy(logits), torch.from_numpy(answers)), want)
    module = pair_network(5, width=7, activation=Square).double()
    weights = (module.left.weight.T, module.right.weight.T, module.out.weight.T)
    torch.testing.assert_close(margins.logits_of_pairs(weights), module(all_pairs(5)))
    by_hand = sum(torch.cat([t[i] for t in weights]).norm() ** 3 for i in range(7)) ** (1 / 3)
    torch.testing.assert_close(margins.group_norm(weights), by_hand)


def test_group_tables_agree_with_matrices():
    def turn(n, element):
        c, s = math.cos(2 * math.pi * (element % n) / n), math.sin(2 * math.pi * (element % n) / n)
        return np.array([[c, -s], [s, c]]) @ np.diag([1, -1 if element >= n else 1])

    table = dihedral(5)
    for a, b in itertools.product(range(10), repeat=2):
        np.testing.assert_allclose(turn(5, a) @ turn(5, b), turn(5, int(table[a, b])), atol=1e-12)
    for t in (cyclic(6), dihedral(4), symmetric(4)):
        assert bool((t[torch.arange(len(t)), inverses(t)] == 0).all())
        assert torch.equal(t[t], t[:, t])


@pytest.mark.parametrize(
    ("table", "dims"),
    [(cyclic(7), [1, 2, 2, 2]), (dihedral(15), [1, 1] + [2] * 7), (symmetric(4), [1, 1, 2, 3, 3])],
    ids=["cyclic", "dihedral", "symmetric"],
)
def test_irreps_recover_the_known_dimensions_and_are_exact(table, dims):
    found = irreps.irreps(table)
    assert [rho.dim for rho in found] == dims
    torch.testing.assert_close(found[0].matrices.abs(), torch.ones_like(found[0].matrices))
    assert float(found[0].character.sum()) == pytest.approx(len(table))
    functions = torch.cat([rho.functions for rho in found], 1)
    torch.testing.assert_close(functions.T @ functions, torch.eye(len(table), dtype=torch.float64), rtol=0, atol=1e-9)
    for rho in found:
        product = torch.einsum("aij,bjk->abik", rho.matrices, rho.matrices)
        torch.testing.assert_close(product, rho.matrices[table], rtol=0, atol=1e-9)


def test_variance_and_logits_of_a_planted_representation_are_found():
    table = dihedral(9)
    found = irreps.irreps(table, seed=3)
    rho = found[4]
    x = rho.matrices.flatten(1) @ torch.from_numpy(DRAW.normal(size=(4, 11)))
    shares = irreps.variance_by_irrep(x, found)
    assert float(shares[4]) == pytest.approx(1)
    logits = 3 * irreps.character_logits(table, [rho])[0] + 5
    assert bool((logits.argmax(1) == table.flatten()).all())
    fit_, explained = irreps.fit_characters(logits, table, found)
    assert explained == pytest.approx(1)
    torch.testing.assert_close(fit_, logits - logits.mean(1, keepdim=True))
    assert irreps.fit_characters(logits, table, [r for r in found if r is not rho])[1] < 1e-9


def test_memory_equals_the_oracle_sum_and_recalls_orthogonal_pairs_exactly():
    e, u = associative.embeddings(8, 6, 0, "in"), associative.embeddings(3, 6, 0, "out")
    f, q = torch.from_numpy(DRAW.integers(0, 3, 8)), torch.rand(8, dtype=torch.float64)
    w = associative.store(e, u, f, q)
    want = sum(q[x] * torch.outer(u[f[x]], e[x]) for x in range(8))
    torch.testing.assert_close(w, want)
    scores = associative.associations(w, e, u)
    assert float(scores[2, 1]) == pytest.approx(float(u[1] @ want @ e[2]))
    eye, order = torch.eye(4, dtype=torch.float64), torch.tensor([2, 0, 3, 1])
    memory = associative.store(eye, eye, order, torch.ones(4))
    assert associative.recall_error(memory, eye, eye, order, associative.zipf(4, 1.5)) == 0
    torch.testing.assert_close(associative.recall_margin(memory, eye, eye, order), torch.ones(4, dtype=torch.float64))
    assert float(associative.zipf(4, 2.0)[1] / associative.zipf(4, 2.0)[0]) == pytest.approx(0.25)


def test_a_pair_network_learns_and_is_seeded():
    module, twin = (pair_network(5, width=16, activation=nn.ReLU, seed=1) for _ in range(2))
    assert torch.equal(module.out.weight, twin.out.weight)
    pairs, answers = all_pairs(5), cyclic(5).flatten()
    fit(module, lambda _: nn.functional.cross_entropy(module(pairs), answers), 200, lr=2e-2)
    assert bool((module(pairs).argmax(1) == answers).all())


def test_refusals():
    broken = cyclic(4).clone()
    broken[1, 1] = 0
    for table in (broken, cyclic(4)[[1, 0, 2, 3]]):
        with pytest.raises(UsageError, match="group"):
            irreps.irreps(table)
    with pytest.raises(Degenerate, match="vary"):
        irreps.variance_by_irrep(torch.ones(4, 2), irreps.irreps(cyclic(4)))
    with pytest.raises(ShapeError):
        irreps.variance_by_irrep(torch.ones(3, 2), irreps.irreps(cyclic(4)))
    with pytest.raises(UsageError, match="odd"):
        margins.addition_optimum(8)
    with pytest.raises(UsageError, match="frequencies"):
        margins.addition_optimum(7, [4])
    with pytest.raises(Degenerate):
        margins.normalised_margin((torch.zeros(2, 5),) * 3)
    with pytest.raises(ShapeError):
        periodic.power_spectrum(torch.zeros(5))
    with pytest.raises(ShapeError):
        associative.store(torch.ones(3, 2), torch.ones(2, 2), torch.zeros(2, dtype=torch.long), torch.ones(3))
    with pytest.raises(UsageError):
        dihedral(0)

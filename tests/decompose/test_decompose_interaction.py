"""Interaction bases against the equations in numpy, exact invariance, planted ranks and planted modules."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from microtome.decompose import (
    degeneracy,
    interaction_basis,
    interaction_edges,
    interaction_modules,
    interaction_stack,
    lib,
)  # fmt: skip
from microtome.decompose.interaction import moments
from microtome.errors import Degenerate, SiteError, UsageError
from microtome.subject.basis import load_basis
from microtome.subject.subject import Subject


def network(sizes=(6, 10, 8, 3), seed=0):
    """Linear, ReLU, Linear, ReLU, Linear in float64, and inputs."""
    g = torch.Generator().manual_seed(seed)
    parts = []
    for a, b in pairwise(sizes):
        layer = nn.Linear(a, b).double()
        layer.weight.data = torch.randn(b, a, generator=g, dtype=torch.float64) / a**0.5
        layer.bias.data = 0.1 * torch.randn(b, generator=g, dtype=torch.float64)
        parts += [layer, nn.ReLU()]
    x = torch.randn(300, sizes[0], generator=g, dtype=torch.float64)
    return Subject(nn.Sequential(*parts[:-1])), x


def reference(subject, x, at, tail):
    """Encoder^T by the paper's equations: Jacobians one sample at a time, then three factorisations."""
    with torch.no_grad():
        f = nn.Sequential(*subject.module[: at + 1])(x)
    gradient = sum(j.T @ j for j in (torch.func.jacrev(tail)(row) for row in f)).detach().numpy() / len(f)
    centred = (f - f.mean(0)).numpy()
    d, u = np.linalg.eigh(centred.T @ centred / len(f))
    keep = d > 1e-9 * d[-1]
    d, u = d[keep], u[:, keep]
    inner = np.diag(d**0.5) @ u.T @ gradient @ u @ np.diag(d**0.5)
    power, v = np.linalg.eigh(inner)
    keep = power > 1e-9 * power[-1]
    return power[keep][::-1], (u @ np.diag(d**-0.5) @ v[:, keep] @ np.diag(power[keep] ** 0.5))[:, ::-1]


@pytest.mark.parametrize("at", [1, 3])
def test_interaction_basis_equals_the_reference_equations(at):
    subject, x = network()
    basis = interaction_basis(subject, x, at=str(at), cutoff=1e-9)
    power, encoder = reference(subject, x, at, nn.Sequential(*subject.module[at + 1 :]))
    np.testing.assert_allclose(basis.history["importance"], power, rtol=1e-7)
    cosine = (basis.encoder.numpy() * encoder).sum(0) / np.linalg.norm(encoder, axis=0) / basis.encoder.norm(dim=0).numpy()
    np.testing.assert_allclose(np.abs(cosine), 1, rtol=1e-6)
    np.testing.assert_allclose(basis.encoder.norm(dim=0).numpy(), np.linalg.norm(encoder, axis=0), rtol=1e-6)


def test_lib_towards_a_basis_equals_the_reference_equations():
    subject, x = network()
    onto = interaction_basis(subject, x, at="3")
    basis = lib(subject, x, at="1", onto=onto, cutoff=1e-9)
    power, _ = reference(subject, x, 1, lambda f: onto.encode(subject.module[3](subject.module[2](f))))
    np.testing.assert_allclose(basis.history["importance"], power, rtol=1e-7)
    stack = interaction_stack(subject, x, ["1", "3", "4"])
    assert [b.site for b in stack] == ["1", "3"]


def test_round_trip_is_exact_where_nothing_is_dropped_and_coordinates_are_white_times_importance(tmp_path):
    subject, x = network(sizes=(6, 5, 5, 5))
    basis = interaction_basis(subject, x, at="0")
    f = subject.run(x, record=["0"])["0"]
    torch.testing.assert_close(basis.decode(basis.encode(f)), f, rtol=1e-6, atol=1e-6)
    spread = basis.encode(f).var(0, correction=0)
    np.testing.assert_allclose(spread.numpy(), basis.history["importance"], rtol=1e-8)
    basis.save(tmp_path / "b")
    assert torch.equal(load_basis(tmp_path / "b").encode(f), basis.encode(f))


def test_random_probes_agree_with_the_exact_moment():
    subject, x = network(sizes=(6, 10, 8, 12))
    exact = moments(subject, x, "1", "4")[2]
    close = moments(subject, x, "1", "4", probes=64)[2]
    assert float((exact - close).norm() / exact.norm()) < 0.1


def test_positions_of_a_sequence_are_summed_as_the_exact_jacobian_says():
    class Mix(nn.Module):
        """Positions talk to each other."""

        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 5).double(), nn.Linear(5, 2).double()

        def forward(self, x):
            return self.b(self.a(x).tanh().cumsum(1))

    torch.manual_seed(0)
    subject, x = Subject(Mix()), torch.randn(7, 3, 4, dtype=torch.float64)
    f = subject.module.a(x).detach()
    want = torch.zeros(5, 5, dtype=torch.float64)
    for row in f:
        j = torch.func.jacrev(lambda h: subject.module.b(h.tanh().cumsum(0)))(row)  # [t, 2, s, 5]
        want += torch.einsum("tksi,tksj->ij", j, j)
    torch.testing.assert_close(moments(subject, x, "a", None)[2], want.detach() / 21, rtol=1e-10, atol=1e-12)


def test_an_inserted_matrix_that_is_undone_changes_nothing_in_this_basis():
    subject, x = network()
    g = torch.Generator().manual_seed(5)
    a = torch.randn(8, 8, generator=g, dtype=torch.float64)
    plain = nn.Sequential(subject.module[0], nn.ReLU(), subject.module[2], nn.Linear(8, 3).double())
    moved = nn.Sequential(plain[0], nn.ReLU(), nn.Linear(10, 8).double(), nn.Linear(8, 3).double())
    moved[2].weight.data, moved[2].bias.data = a @ plain[2].weight.data, a @ plain[2].bias.data
    moved[3].weight.data, moved[3].bias.data = plain[3].weight.data @ a.inverse(), plain[3].bias.data
    one, two = (interaction_basis(Subject(m), x, at="2") for m in (plain, moved))
    z = [b.encode(Subject(m).run(x, record=["2"])["2"]) for b, m in ((one, plain), (two, moved))]
    np.testing.assert_allclose(one.history["importance"], two.history["importance"], rtol=1e-6)
    same = [abs(np.corrcoef(p, q)[0, 1]) for p, q in zip(z[0].T.numpy(), z[1].T.numpy())]
    assert min(same) > 0.999


def test_edges_equal_a_slow_integral():
    subject, x = network(sizes=(4, 5, 4, 2))
    x = x[:6]
    lower, upper = interaction_basis(subject, x, at="1"), interaction_basis(subject, x, at="3")
    edges = interaction_edges(subject, x, lower, upper, points=60)
    f, want = subject.run(x, record=["1"])["1"], torch.zeros(upper.dim, lower.dim, dtype=torch.float64)
    for row in f:
        z, steps = lower.encode(row), (torch.arange(2000) + 0.5) / 2000
        to = lambda h: upper.encode(subject.module[3](subject.module[2](h)))  # noqa: E731
        path = lower.offset + steps[:, None] * (row - lower.offset)
        inner = torch.vmap(torch.func.jacrev(to))(path).mean(0).detach() @ lower.decoder.T
        want += (inner * z).square()
    torch.testing.assert_close(edges, want / 6, rtol=2e-2, atol=1e-3 * float(want.max()))


def test_degeneracy_recovers_planted_rank_and_copies():
    subject, x = network(sizes=(9, 12, 6))
    with torch.no_grad():
        first = subject.module[0]
        first.weight[3], first.bias[3] = first.weight[1], first.bias[1]
        first.weight[7], first.bias[7] = 2 * first.weight[1], 2 * first.bias[1]
        x = x[:, :4] @ torch.randn(4, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert degeneracy(subject, x, at="1").synchronised == ((1, 3, 7),)
    assert degeneracy(subject, x, at="0").activation_rank == 4 + 1
    assert degeneracy(subject, x, at="1").gradient_rank == 6


def test_modules_recover_planted_blocks_and_find_none_in_noise():
    draw = np.random.default_rng(0)
    blocks = np.kron(np.eye(2), np.ones((4, 5))) * draw.uniform(0.5, 2, (8, 10)) + 1e-9
    found = interaction_modules(torch.from_numpy(blocks))
    assert found.lower.tolist() == [found.lower[0]] * 5 + [found.lower[5]] * 5
    assert found.lower[0] != found.lower[5]
    assert found.upper.tolist() == [found.lower[0]] * 4 + [found.lower[5]] * 4
    assert found.p == 0.01
    assert interaction_modules(torch.from_numpy(draw.uniform(0.5, 2, (8, 10)))).p > 0.05


def test_refusals():
    subject, x = network()
    with pytest.raises(UsageError, match="downstream"):
        lib(subject, x, at="3", onto="1")
    with pytest.raises(SiteError, match="9"):
        interaction_basis(subject, x, at="9")
    with pytest.raises(UsageError, match="probes"):
        interaction_basis(subject, x, at="1", probes=0)
    with pytest.raises(Degenerate, match="vary"):
        interaction_basis(subject, x[:1].expand(5, -1), at="1")
    with torch.no_grad():
        subject.module[4].weight.zero_()
    with pytest.raises(Degenerate, match="depends"):
        interaction_basis(subject, x, at="3")
    with pytest.raises(UsageError, match="two sites"):
        interaction_stack(subject, x, ["1"])

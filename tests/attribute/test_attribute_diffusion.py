"""Information of prompts under an exact denoiser: against log ratios of densities, loops, and planted words."""

import math

import pytest
import torch

from microtome.attribute import diffusion_pid
from microtome.attribute.diffusion_pid import ATOMS, information
from microtome.errors import NonFinite, ShapeError, UsageError
from microtome.stimuli.mixtures import Mixture

FOUR = Mixture(torch.tensor([[-2.0, -2.0], [-2.0, 2.0], [2.0, -2.0], [2.0, 2.0]], dtype=torch.float64), 0.25)


def words(n: int = 20, seed: int = 0):
    x, k = FOUR.draw(n, seed)
    first, second = k[:, None] // 2 == torch.arange(4) // 2, k[:, None] % 2 == torch.arange(4) % 2
    return x, (None, first, second, first & second)


def test_the_denoiser_agrees_with_the_slow_posterior_mean():
    x, (_, first, *_) = words(4)
    a = torch.tensor([-3.0, 0.0, 1.0, 4.0], dtype=torch.float64)
    found = FOUR(x, a, first)
    for i in range(4):
        s = 1 / (1 + math.exp(-float(a[i])))
        spread = s * 0.25 + 1 - s
        logs, noises = [], []
        for k in range(4):
            if first[i, k]:
                gap = x[i] - math.sqrt(s) * FOUR.means[k]
                logs.append(float(-0.5 * (gap @ gap) / spread))
                noises.append(math.sqrt(1 - s) * gap / spread)
        weights = [math.exp(v - max(logs)) for v in logs]
        slow = sum(w * e for w, e in zip(weights, noises)) / sum(weights)
        torch.testing.assert_close(found[i], slow)


def test_log_density_equals_torch_distributions():
    from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

    parts = Independent(Normal(FOUR.means, torch.full_like(FOUR.means, 0.5)), 1)
    x, _ = words(6)
    reference = MixtureSameFamily(Categorical(torch.ones(4, dtype=torch.float64)), parts).log_prob(x)
    torch.testing.assert_close(FOUR.log_density(x), reference)


def test_direct_information_recovers_the_exact_log_ratio():
    x, (_, first, *_) = words(30)
    (found,), edge = information(FOUR, x, None, [first], form="direct", nodes=48, draws=256)
    exact = FOUR.log_density(x, first) - FOUR.log_density(x)
    assert float((found.sum(1) - exact).abs().mean()) < 0.1
    assert abs(float(found.sum(1).mean() / exact.mean()) - 1) < 0.03
    assert edge < 0.01


def test_atoms_agree_with_a_loop_over_noise():
    x, prompts = words(2)
    found = diffusion_pid(FOUR, x, prompts, nodes=3, draws=4, span=2.0, seed=5)
    import numpy as np

    from microtome.rng import torch_rng

    total = torch.zeros(3, 2, 2, dtype=torch.float64)
    for number, (node, weight) in enumerate(zip(*np.polynomial.legendre.leggauss(3))):
        half = torch.randn(2, 2, 2, generator=torch_rng(5, "noise", number), dtype=torch.float64)
        a = torch.full((2,), 2.0 * node, dtype=torch.float64)
        s = torch.sigmoid(a)[:, None]
        for e in (half[0], half[1], -half[0], -half[1]):
            noisy = s.sqrt() * x + (1 - s).sqrt() * e
            for j in range(3):
                total[j] += 2.0 * weight * 0.5 * (FOUR(noisy, a) - FOUR(noisy, a, prompts[j + 1])).square() / 4
    one, two, both = total
    shared = torch.minimum(one, two)
    expected = torch.stack([shared, one - shared, two - shared, both - one - two + shared], dim=1)
    torch.testing.assert_close(found.values, expected)


def test_atoms_are_an_exact_identity_and_save(tmp_path):
    x, prompts = words()
    found = diffusion_pid(FOUR, x, prompts, nodes=16, draws=8)
    assert found.residual is not None
    assert float(found.residual.abs().max()) < 1e-9
    assert len(ATOMS) == found.values.shape[1]
    found.save(tmp_path / "a")
    assert torch.equal(type(found).load(tmp_path / "a").values, found.values)


def test_a_word_said_twice_is_redundant_and_one_unheard_says_exactly_nothing():
    x, (_, first, _, _) = words()
    atoms = diffusion_pid(FOUR, x, (None, first, first, first), nodes=24, draws=16).values
    assert float(atoms[:, 1:].abs().max()) < 1e-12
    assert float(atoms[:, 0].sum(-1).mean()) == pytest.approx(math.log(2), abs=0.15)
    assert diffusion_pid(FOUR, x, (None,) * 4, nodes=4, draws=2).values.abs().max() == 0


def test_wrong_calls_are_refused():
    x, prompts = words(3)
    with pytest.raises(UsageError, match="four"):
        diffusion_pid(FOUR, x, prompts[:3])
    with pytest.raises(UsageError, match="form"):
        diffusion_pid(FOUR, x, prompts, form="exact")
    with pytest.raises(UsageError, match="span"):
        diffusion_pid(FOUR, x, prompts, span=0.0)
    with pytest.raises(ShapeError, match="pictures"):
        diffusion_pid(FOUR, x[:0], prompts)
    with pytest.raises(ShapeError, match="2 units"):
        diffusion_pid(FOUR, torch.zeros(3, 5), (None,) * 4)
    with pytest.raises(NonFinite, match="denoiser"):
        diffusion_pid(lambda noisy, a, c: noisy * torch.nan, x, prompts, nodes=2, draws=2)

"""Integrated gradients: the axioms of the paper on random networks in float64, and equality with a slow oracle."""

import copy
import importlib.util

import numpy as np
import pytest
import torch
from attribute_models import KINDS, behind, model, slow_gradient, slow_integrated_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from microtome.attribute import gradient, integrated_gradients, occlusion
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject

SHORT = range(10)


def one_output(module: nn.Module, x: torch.Tensor) -> tuple[Subject, Task]:
    """A subject whose metric is its first output: the second is always 0."""
    both = nn.Sequential(module, Padded())
    n = len(x)
    zeros = torch.zeros(n, dtype=torch.long)
    return Subject(both), Task("f", x, -x - 1, zeros, zeros + 1, kind="image")


class Padded(nn.Module):
    def forward(self, y):
        return torch.cat([y, torch.zeros_like(y)], dim=1)


def layer(*rows: list[float], bias: list[float] | None = None) -> nn.Linear:
    made = nn.Linear(len(rows[0]), len(rows), bias=bias is not None).double()
    with torch.no_grad():
        made.weight.copy_(torch.tensor(rows, dtype=torch.float64))
        if bias is not None:
            made.bias.copy_(torch.tensor(bias, dtype=torch.float64))
    return made


def attributed(module: nn.Module, x: torch.Tensor, method=integrated_gradients, **options) -> torch.Tensor:
    subject, task = one_output(module, x)
    return method(subject, task, **options).values


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", SHORT)
def test_integrated_gradients_are_complete_and_equal_the_slow_oracle(kind, seed):
    check_completeness(kind, seed)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_completeness_on_fifty_networks_of_each_kind(kind):
    for seed in range(50):
        check_completeness(kind, seed)


def check_completeness(kind: str, seed: int) -> None:
    subject, task = model(kind, seed)
    found = integrated_gradients(subject, task, steps=64)
    x, f = behind(kind, subject, task)
    with torch.no_grad():
        torch.testing.assert_close(found.output, f(x), rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(found.reference, f(torch.zeros_like(x)), rtol=1e-10, atol=1e-12)
    # Gauss-Legendre is exact to rounding where the gradient is smooth. Each kink of a ReLU on the path costs O(1 / nodes),
    # which shows in networks of ten units; there it is measured against the sizes of the attributions.
    size = found.values.flatten(1).abs().sum(1).clamp(min=1e-12)
    if has_kinks(subject):
        assert float((found.residual.abs() / size).max()) <= 0.05
    else:
        assert float(found.relative_residual.max()) <= 1e-6
    slow = slow_integrated_gradients(f, x, torch.zeros_like(x), 64)
    torch.testing.assert_close(found.values, slow, rtol=1e-9, atol=1e-12)


def has_kinks(subject: Subject) -> bool:
    return any(isinstance(m, nn.ReLU) for m in subject.module.modules())


def test_kinks_cost_one_over_the_number_of_nodes():
    networks = [model("mlp", seed) for seed in (3, 4, 8, 9, 13, 14)]
    missed = [np.mean([float(integrated_gradients(*n, steps=steps).residual.abs().mean()) for n in networks])
              for steps in (16, 64, 256)]  # fmt: skip
    assert missed[0] > 2 * missed[1] > 4 * missed[2]


@pytest.mark.skipif(importlib.util.find_spec("captum") is None, reason="captum is not installed")
def test_integrated_gradients_equal_the_peer_in_captum():
    from captum.attr import IntegratedGradients

    for kind in ("mlp", "cnn"):
        subject, task = model(kind, 0)
        x, _ = behind(kind, subject, task)
        peer = IntegratedGradients(subject.module)
        theirs = sum(
            sign * peer.attribute(x, target=t, n_steps=32, method="gausslegendre")
            for sign, t in ((1, task.answers), (-1, task.wrong))
        )
        ours = integrated_gradients(subject, task, steps=32).values
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_equals_autograd_oracle(kind):
    subject, task = model(kind, 3)
    x, f = behind(kind, subject, task)
    slow = slow_gradient(f, x)
    torch.testing.assert_close(gradient(subject, task).values, slow, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(gradient(subject, task, times="input").values, x * slow, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("method", [gradient, integrated_gradients, occlusion])
def test_dummy_is_exactly_zero(method):
    g = torch.Generator().manual_seed(1)
    net = nn.Sequential(nn.Conv2d(2, 1, 1, bias=False), nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 1)).double()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64))
        net[2].weight[:, 3] = 0.0
    values = attributed(net, torch.randn(6, 2, 4, 4, generator=g, dtype=torch.float64), method)
    values = values if values.ndim == 3 else values.sum(1)
    # Occluded copies are stacked on the batch, where products may round differently.
    assert float(values.flatten(1)[:, 3].abs().max()) <= (1e-14 if method is occlusion else 0.0)
    assert float(values.flatten(1).abs().max()) > 0.0


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.floats(-3, 3), st.floats(-3, 3))
def test_linearity(seed, a, b):
    g = torch.Generator().manual_seed(seed)
    f, h = (nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).double() for _ in range(2))
    with torch.no_grad():
        for p in (*f.parameters(), *h.parameters()):
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64))
    x = torch.randn(3, 4, generator=g, dtype=torch.float64)
    both = Weighted(f, h, a, b)
    sides = [attributed(m, x, at=site) for m, site in ((f, "0:input"), (h, "0:input"))]
    joint = attributed(both, x, at="0:input")
    torch.testing.assert_close(joint, a * sides[0] + b * sides[1], rtol=0, atol=1e-8)


class Weighted(nn.Module):
    def __init__(self, f, h, a, b):
        super().__init__()
        self.f, self.h, self.a, self.b = f, h, a, b

    def forward(self, x):
        return self.a * self.f(x) + self.b * self.h(x)


def test_symmetry():
    """Two inputs with equal weights, values and baselines get equal shares."""
    g = torch.Generator().manual_seed(0)
    for _ in range(10):
        net = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 1)).double()
        with torch.no_grad():
            for p in net.parameters():
                p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64))
            net[0].weight[:, 1] = net[0].weight[:, 0]
        x = torch.randn(5, 4, generator=g, dtype=torch.float64)
        x[:, 1] = x[:, 0]
        values = attributed(net, x)
        assert float((values[:, 0] - values[:, 1]).abs().max()) <= 1e-8


def test_equal_functions_get_equal_attributions():
    """Implementation invariance: rescaled, permuted and split copies of a network."""
    g = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1)).double()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64))
    x = torch.randn(4, 5, generator=g, dtype=torch.float64)
    expected = attributed(net, x)
    for other in (rescaled(net), permuted(net), split(net)):
        torch.testing.assert_close(other(x), net(x))
        assert float((attributed(other, x) - expected).abs().max()) <= 1e-6


def rescaled(net):
    other = copy.deepcopy(net)
    scale = torch.linspace(0.2, 5.0, 8, dtype=torch.float64)
    with torch.no_grad():
        other[0].weight.mul_(scale[:, None])
        other[0].bias.mul_(scale)
        other[2].weight.div_(scale)
    return other


def permuted(net):
    other, order = copy.deepcopy(net), torch.arange(8).flip(0)
    with torch.no_grad():
        other[0].weight.copy_(net[0].weight[order])
        other[0].bias.copy_(net[0].bias[order])
        other[2].weight.copy_(net[2].weight[:, order])
    return other


def split(net):
    """Every hidden unit twice, with half the output weight each."""
    other = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 1)).double()
    with torch.no_grad():
        other[0].weight.copy_(net[0].weight.repeat(2, 1))
        other[0].bias.copy_(net[0].bias.repeat(2))
        other[2].weight.copy_(net[2].weight.repeat(1, 2) / 2)
        other[2].bias.copy_(net[2].bias)
    return other


def test_saturation_tells_the_gradient_from_integrated_gradients():
    """F(x) = 1 - ReLU(1 - x) at x = 2 (section 2.1): the gradient is 0 although x matters."""
    net = nn.Sequential(layer([-1.0], bias=[1.0]), nn.ReLU(), layer([-1.0], bias=[1.0]))
    x = torch.tensor([[2.0]], dtype=torch.float64)
    assert attributed(net, x, gradient).item() == 0.0
    assert attributed(net, x, steps=64).item() == pytest.approx(1.0, abs=0.02)


def test_the_two_networks_of_the_paper_agree_by_hand():
    """f = ReLU(ReLU(x1) - 1 - ReLU(x2)) and g = ReLU(ReLU(x1 - 1) - ReLU(x2)) at (3, 1): (1.5, -0.5) in both (figure 7)."""
    f = nn.Sequential(layer([1.0, 0.0], [0.0, 1.0]), nn.ReLU(), layer([1.0, -1.0], bias=[-1.0]), nn.ReLU())
    g = nn.Sequential(layer([1.0, 0.0], [0.0, 1.0], bias=[-1.0, 0.0]), nn.ReLU(), layer([1.0, -1.0]), nn.ReLU())
    x = torch.tensor([[3.0, 1.0]], dtype=torch.float64)
    for net in (f, g):
        torch.testing.assert_close(attributed(net, x, steps=256), torch.tensor([[1.5, -0.5]]).double(), atol=0.02, rtol=0)

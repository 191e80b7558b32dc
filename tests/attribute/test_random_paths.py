"""Functional information, expected gradients, GradientSHAP, internal influence and SAMP: slow loops, identities, a peer."""

import math
from pathlib import Path

import numpy as np
import peer_models as models
import pytest
import torch
import torch.nn.functional as F
from attribute_models import behind, model, slow_gradient
from torch import nn

from microtome.attribute import (
    Others,
    expected_gradients,
    functional_information,
    gradient_shap,
    integrated_gradients,
    internal_influence,
    paths,
    samp,
)
from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.rng import rng, torch_rng
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject


class Zeroed(nn.Module):
    def forward(self, y):
        return F.pad(y, (0, 1))


def peer(name: str) -> np.ndarray:
    with np.load(Path(__file__).parent / "references" / "captum.npz") as file:
        return file[name]


def peer_case() -> tuple[Subject, Task]:
    x = models.images()
    task = Task("t", x, x * 0.5, models.TARGETS, torch.full((4,), 5), kind="image", groups=[0, 1, 2, 3])
    return Subject(nn.Sequential(*models.plain_cnn(nn.AvgPool2d), Zeroed())), task


def linear(weights: list[float], bias: float = 0.0) -> Subject:
    """exp of the first logit less the second is exp(a . z + bias)."""
    layer = nn.Linear(len(weights), 2).double()
    layer.weight.data = torch.tensor([weights, [0.0] * len(weights)], dtype=torch.float64)
    layer.bias.data = torch.tensor([bias, 0.0], dtype=torch.float64)
    return Subject(nn.Sequential(layer))


def points(n: int, cells: int, seed: int = 0) -> Task:
    x = torch.randn(n, cells, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    zero = torch.zeros(n, dtype=torch.long)
    return Task("points", x, x - 1, zero, zero + 1, kind="image", groups=list(range(n)))


@pytest.mark.parametrize("kind", ["own", "number", "cells", "matrix"])
def test_functional_information_equals_a_slow_loop(kind):
    subject, task = model("mlp", 1)
    x, f = behind("mlp", subject, task)
    half = torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    given = {"own": None, "number": 0.5, "cells": torch.arange(6.0), "matrix": half @ half.T}[kind]
    found = functional_information(subject, task, covariance=given, spread=0.3, samples=7, metric="logit_difference", seed=5)
    g, total = torch_rng(5, "functional information"), torch.zeros_like(x)
    values, vectors = torch.linalg.eigh(half @ half.T)
    for _ in range(7):
        e = torch.randn(6, generator=g, dtype=torch.float64)
        for i in range(4):
            c = {"own": x[i].var() * torch.eye(6), "number": 0.5 * torch.eye(6), "cells": torch.arange(6.0).diag(),
                 "matrix": half @ half.T}[kind].double()  # fmt: skip
            root = vectors @ values.clamp(min=0).sqrt().diag() if kind == "matrix" else c.sqrt()
            z = x.clone()
            z[i] += math.sqrt(0.3) * root @ e
            slope, output = slow_gradient(f, z)[i], float(f(z).detach()[i].exp())
            total[i] += (0.3 * c @ slope * output) * (slope * output) / output / 7
    torch.testing.assert_close(found.values, total, rtol=1e-7, atol=1e-10)
    torch.testing.assert_close(found.terms["bound"], total.sum(1) / 2, rtol=1e-7, atol=1e-10)


def test_the_logarithmic_sobolev_inequality_is_an_equality_for_exponentials():
    a = [0.3, -0.2, 0.1]
    found = functional_information(linear(a, -0.5), points(3, 3), covariance=1.0, spread=1.0, samples=20000,
                                   metric="logit_difference")  # fmt: skip
    np.testing.assert_allclose(found.terms["entropy"], found.terms["bound"], rtol=0.03)
    shares = found.values / found.values.sum(1, keepdim=True)
    torch.testing.assert_close(shares[0], torch.tensor(a).double().square() / sum(v * v for v in a))


def test_functional_information_of_a_singular_covariance_stays_in_its_plane():
    found = functional_information(linear([1.0, -1.0]), points(2, 2), covariance=torch.ones(2, 2), samples=8, spread=1.0,
                                   metric="logit_difference")  # fmt: skip
    assert float(found.terms["bound"].abs().max()) < 1e-12


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"covariance": torch.tensor([[1.0, 2.0], [2.0, 1.0]])}, Degenerate, "no covariance"),
        ({"covariance": torch.tensor([1.0, -1.0])}, Degenerate, "negative"),
        ({"covariance": torch.ones(3)}, ShapeError, "fits neither"),
        ({"spread": 0.0}, UsageError, "spread"),
        ({"samples": 1}, UsageError, "samples"),
    ],
)
def test_functional_information_refuses(settings, error, words):
    with pytest.raises(error, match=words):
        functional_information(linear([1.0, 2.0]), points(2, 2), **settings)


@pytest.mark.parametrize("method", [expected_gradients, gradient_shap])
def test_expected_gradients_equal_a_slow_loop_and_add_up(method):
    subject, task = model("mlp", 2)
    x, f = behind("mlp", subject, task)
    rows = torch.randn(5, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    noise = {"noise": 0.1} if method is gradient_shap else {}
    found = method(subject, task, baseline=Others(rows), samples=9, seed=4, **noise)
    draw, g = rng(4, "expected gradients"), torch_rng(4, "expected gradients", "noise")
    chosen = draw.integers(5, size=9)
    where = (draw.permutation(9) + draw.random(9)) / 9
    assert sorted((where * 9).astype(int)) == list(range(9))
    total = torch.zeros_like(x)
    for k in range(9):
        e = torch.randn(6, generator=g, dtype=torch.float64) if noise else torch.zeros(6)
        end = x + 0.1 * (x.max(1).values - x.min(1).values)[:, None] * e
        start = rows[chosen[k]]
        total += (end - start) * slow_gradient(f, start + where[k] * (end - start)) / 9
    torch.testing.assert_close(found.values, total)
    want = sum(f(rows[c].expand_as(x)) for c in chosen).detach() / 9
    torch.testing.assert_close(found.reference, want)
    alone = method(subject, task[:1], baseline=Others(rows), samples=9, seed=4, **noise)
    torch.testing.assert_close(alone.values, found.values[:1])
    if not noise:
        many = method(subject, task, baseline=Others(rows), samples=2000)
        assert float(many.residual.abs().max()) < 0.1 * float((many.output - many.reference).abs().max())


def test_expected_gradients_of_one_baseline_are_integrated_gradients_and_of_none_the_examples():
    subject, task = model("cnn", 0)
    found = expected_gradients(subject, task, baseline="corrupt", samples=400)
    want = integrated_gradients(subject, task, baseline="corrupt")
    torch.testing.assert_close(found.values, want.values, atol=0.02 * float(want.values.abs().max()), rtol=0)
    torch.testing.assert_close(found.reference, want.reference)
    own, given = (expected_gradients(subject, task, baseline=b) for b in (None, Others(task.clean)))
    torch.testing.assert_close(own.values, given.values)
    with pytest.raises(ShapeError, match="do not fit"):
        expected_gradients(subject, task, baseline=Others(torch.zeros(3, 2)))
    with pytest.raises(UsageError, match="noise"):
        gradient_shap(subject, task, noise=-1.0)


def test_paths_agree_with_the_peer_captum():
    subject, task = peer_case()
    found = internal_influence(subject, task, at="3", steps=24)
    np.testing.assert_allclose(found.values.numpy(), peer("internal_influence"), rtol=1e-7, atol=1e-10)
    start = subject.run(torch.zeros_like(task.clean[:1]), record=["3"])["3"][0]
    layer = integrated_gradients(subject, task, at="3", baseline=start, steps=24)
    np.testing.assert_allclose(layer.values.numpy(), peer("layer_integrated_gradients"), rtol=1e-7, atol=1e-10)
    shap = gradient_shap(subject, task, baseline=Others(task.clean.flip(3) * 0.5), noise=0.02, samples=500).values.numpy()
    want = peer("gradient_shap")  # both are estimates, of 500 and of 2000 draws
    assert np.linalg.norm(shap - want) < 0.1 * np.linalg.norm(want)


def test_internal_influence_times_the_change_of_a_linear_layer_is_conductance():
    subject, task = model("mlp", 0)
    x, _ = behind("mlp", subject, task)
    found = internal_influence(subject, task, steps=12)
    torch.testing.assert_close(found.values * x, integrated_gradients(subject, task, steps=12).values)
    assert found.residual is None


def slow_samp(f, x, start, share, bound, momentum):
    """One example and one direction at a time."""
    total = torch.zeros_like(x)
    for i in range(len(x)):
        for sign, at, goal in ((-1.0, x, start), (1.0, start, x)):
            at, m = at.clone(), torch.zeros_like(x[i])
            longest = bound * (x[i] - start[i]).abs().sum()
            while not torch.equal(at[i], goal[i]):
                g, d = slow_gradient(f, at)[i], goal[i] - at[i]
                m = momentum * m + (1 - momentum) * g
                gain = (sign * d * m).masked_fill(d == 0, -torch.inf)
                step = torch.zeros_like(d)
                best = gain.topk(max(1, round(share * d.numel()))).indices
                step[best] = d[best]
                cut = min(1.0, float(longest / step.abs().sum()))
                total[i] += sign * g * cut * step / 2
                at[i] = torch.where((step != 0) & (cut == 1), goal[i], at[i] + cut * step)
    return total


@pytest.mark.parametrize(("bound", "momentum"), [(0.1, 0.5), (1.0, 0.0)])
def test_samp_equals_a_slow_loop(bound, momentum):
    subject, task = model("mlp", 1)
    x, f = behind("mlp", subject, task)
    found = samp(subject, task, share=0.34, bound=bound, momentum=momentum, baseline="corrupt")
    torch.testing.assert_close(found.values, slow_samp(f, x, task.corrupt, 0.34, bound, momentum))


def test_samp_keeps_dummies_at_zero_and_small_steps_complete(monkeypatch):
    subject, task = model("mlp", 0)
    with torch.no_grad():
        subject.module[0].weight[:, 2] = 0.0
    missed = []
    for bound in (None, 0.05, 0.005):
        found = samp(subject, task, bound=bound, share=0.34)
        assert torch.equal(found.values[:, 2], torch.zeros(4).double())
        missed.append(float((found.residual.abs() / found.values.abs().sum(1)).max()))
    assert missed[0] > 10 * missed[1] > 50 * missed[2]
    whole = samp(subject, task).values
    monkeypatch.setattr(paths, "CHUNK_BYTES", 1)
    torch.testing.assert_close(samp(subject, task).values, whole)
    alone = samp(subject, task[:1]).values
    torch.testing.assert_close(alone, whole[:1])


def test_samp_moves_whole_pixels_and_stays_where_there_is_no_way():
    subject, task = model("cnn", 1)
    found = samp(subject, task, baseline="corrupt", share=0.1)
    assert found.values.shape == task.clean.shape
    still = samp(subject, task, baseline=task.clean)
    assert torch.equal(still.values, torch.zeros_like(task.clean))


@pytest.mark.parametrize("settings", [{"share": 0.0}, {"bound": 0.0}, {"momentum": 1.0}])
def test_samp_refuses(settings):
    with pytest.raises(UsageError, match=next(iter(settings))):
        samp(*model("mlp", 0), **settings)

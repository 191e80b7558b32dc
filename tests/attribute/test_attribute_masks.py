"""Coalition methods against exact Shapley values, closed forms and slow loops; imputers; refusals."""

from itertools import permutations as orders
from math import comb

import numpy as np
import pytest
import torch
from attribute_models import behind, model
from sklearn.linear_model import Ridge

from microtome.attribute import (
    ConditionalGaussian,
    Others,
    feature_ablation,
    hsic,
    kernel_shap,
    lime,
    occlusion,
    permutation,
    rise,
    shapley_sampling,
    sobol,
)
from microtome.attribute import masks as engine
from microtome.attribute.masks import game
from microtome.attribute.samplers import coin_flips, kernel_coalitions, pick_freeze
from microtome.errors import Degenerate, MicrotomeError, ShapeError, UsageError
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject

SHAPLEY = (kernel_shap, shapley_sampling)


def slow_shapley(worth, players: int) -> np.ndarray:
    """Mean gain over all orders, one order at a time."""
    total, seen = np.zeros((len(worth(())), players)), {}
    every = list(orders(range(players)))
    for order in every:
        for k, player in enumerate(order):
            a, b = (frozenset(order[: k + i]) for i in (0, 1))
            for s in (a, b):
                if s not in seen:
                    seen[s] = worth(tuple(sorted(s)))
            total[:, player] += seen[b] - seen[a]
    return total / len(every)


def by_hand(kind: str, seed: int, labels: torch.Tensor):
    """Worth of a coalition of players at zero baseline, without the package."""
    subject, task = model(kind, seed)
    x, f = behind(kind, subject, task)

    def worth(players):
        keep = sum(((labels == p) for p in players), torch.zeros_like(labels, dtype=torch.bool))
        with torch.no_grad():
            return f(x * keep).numpy()

    return subject, task, worth


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_kernel_shap_equals_exact_shapley_values(seed):
    subject, task, worth = by_hand("mlp", seed, torch.arange(6))
    found = kernel_shap(subject, task, samples=62)
    np.testing.assert_allclose(found.values.numpy(), slow_shapley(worth, 6), atol=1e-9)
    assert float(found.residual.abs().max()) < 1e-9


def test_shapley_values_of_squares_and_tokens_equal_the_slow_loop():
    labels = (torch.arange(8)[:, None] // 4) * 2 + torch.arange(8) // 4
    subject, task, worth = by_hand("cnn", 2, labels)
    found = kernel_shap(subject, task, features=4, samples=20)
    assert found.axes == ("batch", "y", "x")
    np.testing.assert_allclose(found.values[:, ::4, ::4].flatten(1).numpy() * 16, slow_shapley(worth, 4), atol=1e-9)
    given = kernel_shap(subject, task, features=labels * 5 + 3, samples=20)
    torch.testing.assert_close(given.values, found.values)
    subject, task, worth = by_hand("embedding", 2, torch.arange(4)[:, None])
    found = kernel_shap(subject, task, samples=20)
    assert found.axes == ("batch", "position")
    np.testing.assert_allclose(found.values.numpy(), slow_shapley(worth, 4), atol=1e-9)


def test_sampled_orders_approach_the_exact_values_and_are_complete():
    subject, task, worth = by_hand("mlp", 1, torch.arange(6))
    exact = slow_shapley(worth, 6)
    few, many = (shapley_sampling(subject, task, samples=k) for k in (2, 200))
    assert float(few.residual.abs().max()) < 1e-9
    errors = [np.abs(a.values.numpy() - exact).mean() for a in (few, many)]
    assert errors[1] < 0.05 * np.abs(exact).mean() < errors[0] + 1
    # More coalitions than fit: weights are drawn, the sum stays.
    drawn = kernel_shap(subject, task, samples=40)
    assert float(drawn.residual.abs().max()) < 1e-9
    assert np.abs(drawn.values.numpy() - exact).mean() < 0.2 * np.abs(exact).mean()


def test_kernel_weights_are_those_of_the_paper():
    masks, weights = kernel_coalitions(5, 30, 0)
    size = masks.sum(1).double()
    want = 4 / (torch.tensor([comb(5, int(s)) for s in size]) * size * (5 - size))
    torch.testing.assert_close(weights, want)
    masks, weights = kernel_coalitions(20, 200, 0)
    assert len(masks) <= 200
    assert float(weights.sum()) == pytest.approx(sum(19 / (s * (20 - s)) for s in range(1, 20)))


def test_lime_equals_scikit_learn():
    subject, task, worth = by_hand("mlp", 0, torch.arange(6))
    found = lime(subject, task, samples=100, ridge=0.01, seed=3)
    z = np.concatenate([np.ones((1, 6)), coin_flips(6, 99, 3).numpy()])
    near = np.exp(-((1 - np.sqrt(z.mean(1))) ** 2) / 0.25**2)
    values = np.stack([worth(tuple(np.flatnonzero(row))) for row in z])
    want = Ridge(alpha=0.01).fit(z, values, sample_weight=near / near.sum()).coef_
    np.testing.assert_allclose(found.values.numpy(), want, atol=1e-8)


def test_feature_ablation_of_single_places_equals_occlusion():
    subject, task = model("cnn", 2)
    torch.testing.assert_close(feature_ablation(subject, task).values, occlusion(subject, task).values)


def test_rise_and_hsic_equal_slow_loops():
    subject, task, worth = by_hand("mlp", 1, torch.arange(6))
    z = coin_flips(6, 30, 5).numpy()
    values = np.stack([worth(tuple(np.flatnonzero(row))) for row in z])
    want = sum(v[:, None] * row for v, row in zip(values, z)) / (30 * 0.5)
    np.testing.assert_allclose(rise(subject, task, samples=30, seed=5).values.numpy(), want, atol=1e-9)
    found = hsic(subject, task, samples=30, seed=5).values.numpy()
    centre = np.eye(30) - 1 / 30
    for i in range(4):
        gap = values[:, None, i] - values[None, :, i]
        kernel = np.exp(-0.5 * (gap / float(torch.tensor(np.abs(gap)).flatten().median())) ** 2)
        for j in range(6):
            same = (z[:, None, j] == z[None, :, j]).astype(float)
            assert found[i, j] == pytest.approx(np.trace(same @ centre @ kernel @ centre) / 29**2, abs=1e-9)


def test_sobol_indices_of_a_linear_model_have_a_closed_form():
    layer = torch.nn.Linear(3, 2, bias=False).double()
    layer.weight.data = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    x = torch.tensor([[1.0, 1.0, 2.0]], dtype=torch.float64)
    task = Task("f", x, -x, torch.tensor([0]), torch.tensor([1]), kind="image")
    found = sobol(Subject(torch.nn.Sequential(layer)), task, samples=1024)
    torch.testing.assert_close(found.values[0], torch.tensor([1.0, 4.0, 4.0], dtype=torch.float64) / 9, atol=0.01, rtol=0)
    a = pick_freeze(3, 8, 0)
    assert torch.equal(a[2 + 1, :, 1], a[1, :, 1])
    assert torch.equal(a[2 + 1, :, 0], a[0, :, 0])


def test_permutation_equals_a_slow_loop():
    subject, task = model("mlp", 3)
    x, f = behind("mlp", subject, task)
    found = permutation(subject, task, draws=3).values
    with torch.no_grad():
        for j in range(6):
            drops = []
            for other in (1, 2, 3):
                changed = x.clone()
                changed[:, j] = x.roll(other, 0)[:, j]
                drops.append(f(x) - f(changed))
            torch.testing.assert_close(found[:, j], torch.stack(drops).mean(0))


def test_imputers_give_the_conditional_mean_another_example_and_a_blur():
    g = torch.Generator().manual_seed(0)
    rows = torch.randn(4000, 6, generator=g, dtype=torch.float64)
    rows[:, 1] = rows[:, 0] + 0.1 * rows[:, 1]
    subject, task = model("mlp", 0)
    gaussian = ConditionalGaussian.of(rows)
    played = game(subject, task, at=None, baseline=gaussian)
    kept = torch.tensor([[1, 0, 1, 1, 0, 1.0]], dtype=torch.float64)[:, None].expand(1, 4, 6)
    filled = played.fill(task.clean, kept)[0]
    on, off = [0, 2, 3, 5], [1, 4]
    centred = rows - rows.mean(0)
    slope = torch.linalg.lstsq(centred[:, on], centred[:, off]).solution  # regression is the conditional mean
    want = (task.clean - rows.mean(0))[:, on] @ slope + rows.mean(0)[off]
    torch.testing.assert_close(filled[:, off], want, atol=1e-4, rtol=0)
    torch.testing.assert_close(filled[:, on], task.clean[:, on])
    other = game(subject, task, at=None, baseline=Others(rows[:1])).fill(task.clean, kept)[0]
    assert torch.equal(other[:, off], rows[:1, off].expand(4, 2))
    picture, shown = model("cnn", 0)
    assert feature_ablation(picture, shown, baseline="blur", features=4).values.shape == (4, 8, 8)


def test_chunks_do_not_change_the_worth(monkeypatch):
    subject, task = model("cnn", 0)
    whole = kernel_shap(subject, task, features=4).values
    monkeypatch.setattr(engine, "CHUNK_BYTES", 1)
    torch.testing.assert_close(kernel_shap(subject, task, features=4).values, whole, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", [kernel_shap, shapley_sampling, lime, rise, sobol, hsic])
def test_refusals_of_counts(method):
    subject, task = model("mlp", 0)
    for bad in (0, True, 2.5):
        with pytest.raises(UsageError, match="samples"):
            method(subject, task, samples=bad)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda s, t: kernel_shap(s, t, features=torch.zeros(5, dtype=torch.long)), ShapeError, "fit neither"),
        (lambda s, t: kernel_shap(s, t, features=torch.zeros(6)), UsageError, "player numbers"),
        (lambda s, t: kernel_shap(s, t, features=6), Degenerate, "1 player"),
        (lambda s, t: kernel_shap(s, t, baseline="blur"), UsageError, "images"),
        (lambda s, t: kernel_shap(s, t, baseline=Others(torch.zeros(2, 5))), ShapeError, "other examples"),
        (lambda s, t: rise(s, t, keep=1.0), UsageError, "keep"),
        (lambda s, t: lime(s, t, width=0.0), UsageError, "width"),
        (lambda s, t: permutation(s, t[:1]), Degenerate, "at least 2"),
    ],
)
def test_refusals(call, error, said):
    with pytest.raises(error, match=said):
        call(*model("mlp", 0))
    assert issubclass(error, MicrotomeError)

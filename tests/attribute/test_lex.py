"""LEX: subsets and their odds, what fills holes, the selector, and what is refused."""

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import nn

from microtome.attribute import lex
from microtome.attribute.fillings import filler, matches
from microtome.attribute.selector import BOUND, Odds, classes_of
from microtome.attribute.subsets import drawn, inclusion, relaxed
from microtome.errors import ShapeError, UsageError
from microtome.evidence import Finding
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject
from microtome.testing.worlds.lex import world


def g(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_inclusion_agrees_with_a_slow_oracle_of_draws_without_replacement():
    odds, size = torch.tensor([1.0, 0.0, -1.0, 0.5]), 2
    weights = odds.exp().tolist()
    slow = np.zeros(4)
    for order in permutations(range(4), size):
        left, p = sum(weights), 1.0
        for i in order:
            p *= weights[i] / left
            left -= weights[i]
        slow[list(order)] += p
    found = inclusion(odds.expand(500, 4), size, 0).mean(0)
    assert np.allclose(found.numpy(), slow, atol=0.01)
    assert slow.sum() == pytest.approx(size)


def test_relaxed_subsets_equal_hard_ones_forward_and_follow_softmaxes_backward():
    odds = torch.randn(6, 5, generator=g(1), requires_grad=True)
    hard = drawn(odds.detach(), 2, g())
    soft = relaxed(odds, 2, 0.7, g())
    assert torch.allclose(soft.detach(), hard, atol=1e-6)
    assert (hard.sum(1) == 2).all()
    weights = torch.randn(6, 5, generator=g(2))
    (slope,) = torch.autograd.grad((soft * weights).sum(), odds)
    noise = -torch.log(-torch.log(torch.rand(6, 5, generator=g()).clamp(1e-20, 1 - 1e-7)))
    again = odds.detach().double().requires_grad_(True)
    first = ((again + noise) / 0.7).softmax(1)
    second = ((again + noise + (1 - first).log()) / 0.7).softmax(1)
    (slow,) = torch.autograd.grad(((first + second) * weights).sum(), again)
    assert torch.allclose(slope, slow.float(), atol=1e-5)


def test_matched_fillings_are_drawn_from_the_mixture_given_what_is_shown():
    rows = torch.tensor([[0.0, 0.0], [1.0, 5.0], [1.2, 7.0], [3.0, 9.0]])
    x, kept = torch.tensor([[1.1, -4.0]]).repeat(20_000, 1), torch.tensor([[1.0, 0.0]]).repeat(20_000, 1)
    width = 0.5 * float(rows.std(0, correction=0).mean())
    weight = np.exp(-((1.1 - rows[:, 0].numpy()) ** 2) / (2 * width**2))
    # candidates are drawn with replacement: average over which of them there are
    found = np.zeros(4)
    for seed in range(60):
        at = matches(x[:300], kept[:300], rows, g(seed))
        found += np.bincount(at.numpy(), minlength=4)
    expected = np.zeros(4)
    stream = np.random.default_rng(0)
    for _ in range(4000):
        share = weight * np.bincount(stream.integers(4, size=4), minlength=4)
        expected += share / share.sum()
    assert np.allclose(found / found.sum(), expected / expected.sum(), atol=0.08)


def test_an_input_never_matches_itself():
    rows = torch.randn(30, 6, generator=g())
    at = matches(rows, torch.ones_like(rows), rows, g())
    assert not bool((at == torch.arange(30)).any())
    alone = matches(rows[:1], torch.ones(1, 6), rows[:1], g())
    assert alone.tolist() == [0]


def test_what_is_kept_is_kept_whatever_fills_the_rest():
    rows, x = torch.randn(30, 6, generator=g()), torch.randn(9, 6, generator=g(1))
    kept = (torch.rand(9, 6, generator=g(2)) < 0.5).float()
    for baseline in ("matched", "others", "zero", "mean", 3.0, torch.arange(6.0)):
        filled = filler(baseline, rows)(x, kept, g())
        assert torch.allclose(filled[kept == 1], x[kept == 1])
        if isinstance(baseline, float):
            assert (filled[kept == 0] == 3.0).all()
    both = filler("others", rows)(x, torch.zeros(9, 6), g())
    assert all(any(torch.equal(row, other) for other in rows) for row in both)


def test_planted_columns_are_shown_and_the_subject_is_left_alone():
    planted = world(1)
    before = [p.detach().clone() for p in planted.subject.module.parameters()]
    found = lex(planted.subject, planted.task, budget=0.25, draws=3, steps=150)
    shown = found.probabilities(planted.task.clean)
    assert torch.allclose(shown.sum(1), torch.full((len(shown),), 2.0), atol=1e-4)
    assert set(shown.mean(0).topk(2).indices.tolist()) == set(planted.columns)
    assert all(torch.equal(a, b) for a, b in zip(before, planted.subject.module.parameters(), strict=True))
    assert (found.masks(planted.task.clean).sum(1) == 2).all()
    assert found.curve[-20:].mean() > found.curve[:20].mean()
    told = found.finding()
    assert told.verdict == "supported"
    assert Finding.from_json(told.to_json()) == told
    assert "2 of 8" in repr(found)
    chance = lex(world(1, structured=False).subject, world(1, structured=False).task, budget=0.25, draws=2, steps=60)
    assert chance.right.mean() < 0.58 < found.right.mean()


def test_maps_carry_probabilities_on_every_cell_of_a_player():
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    x, y = torch.rand(40, 2, 6, 4, generator=g()), torch.randint(3, (40,), generator=g(1))
    task = Task("pictures", x, x.flip(0), y, (y + 1) % 3, kind="image", groups=list(range(40)))
    found = lex(Subject(net), task, features=2, budget=0.5, draws=2, pretrain=5, steps=5)
    assert (found.count, found.size) == (6, 3)
    shown, maps = found.probabilities(x), found.attribution(x, y)
    assert maps.axes == ("batch", "y", "x")
    for i in range(3):
        for j in range(2):
            block = maps.values[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            assert torch.equal(block, shown[:, 2 * i + j, None, None].expand(40, 2, 2))
    assert torch.allclose(maps.output.exp(), found.predict(x)[torch.arange(40), y], atol=1e-5)
    all_shown = found.predict(x, torch.ones(40, 6))
    assert torch.allclose(all_shown, classes_of(found.predictor, x).softmax(1), atol=1e-5)
    with pytest.raises(ShapeError, match="fitted"):
        found.probabilities(x[:, :1])


def test_a_fixed_predictor_is_the_subject_and_its_answers_are_explained():
    planted = world(2)
    found = lex(planted.subject, planted.task, budget=0.25, draws=2, steps=20, predictor="fixed")
    x = planted.task.clean
    assert torch.equal(classes_of(found.predictor, x), classes_of(planted.subject.module, x))
    masked = lex(planted.subject, planted.task, budget=0.25, draws=2, steps=3, predictor="masked", pretrain=5)
    joint = lex(planted.subject, planted.task, budget=0.25, draws=2, steps=3, predictor="joint", pretrain=5)
    assert not torch.equal(classes_of(masked.predictor, x), classes_of(joint.predictor, x))
    assert all(p.requires_grad for p in masked.predictor.parameters())


def test_odds_stay_within_their_bounds():
    players = torch.arange(6).repeat_interleave(4).reshape(1, 4, 6)
    network = Odds((1, 4, 6), players)
    assert network(100 * torch.randn(5, 1, 4, 6, generator=g())).abs().max() <= BOUND
    assert Odds((7,), torch.arange(7))(torch.randn(5, 7, generator=g())).shape == (5, 7)
    with pytest.raises(UsageError, match="matched"):
        filler("blur", torch.zeros(2, 3))

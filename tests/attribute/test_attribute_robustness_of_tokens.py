"""Robustness of maps of token models: moves of the embeddings, against a network that takes the embeddings themselves."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from attribute_models import behind, model
from torch import nn

import microtome as mt
from microtome.attribute import Measure, evaluate, gradient, integrated_gradients, local_lipschitz, max_sensitivity, occlusion
from microtome.errors import ShapeError, UsageError
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject

DRAWS = 3


def moved(seed: int, *shape: int) -> torch.Tensor:
    return 0.1 * torch.randn(DRAWS, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_gradients_equal_a_loop_over_moved_embeddings():
    subject, task = model("embedding", 1)
    x, f = behind("embedding", subject, task)
    moves = moved(0, *x.shape)

    def slope(at: torch.Tensor) -> torch.Tensor:
        leaf = at.clone().requires_grad_(True)
        return torch.autograd.grad(f(leaf).sum(), leaf)[0]

    here = slope(x)
    relative, per_move = torch.zeros(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    for move in moves:
        there = slope(x + move)
        for i in range(4):
            change = (there[i] - here[i]).norm()
            relative[i] = max(relative[i], change / here[i].norm())
            per_move[i] = max(per_move[i], change / move[i].norm())
    torch.testing.assert_close(max_sensitivity(subject, task, gradient, radius=moves), relative, rtol=1e-9, atol=0)
    torch.testing.assert_close(local_lipschitz(subject, task, gradient, radius=moves), per_move, rtol=1e-9, atol=0)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in subject.module.modules()), "hooks left behind"


@pytest.mark.parametrize("explain", [partial(gradient, times="input"), partial(integrated_gradients, baseline="zero", steps=8)])
def test_any_method_scores_as_on_the_network_behind_the_embeddings(explain):
    subject, task = model("embedding", 2)
    m = subject.module
    x, _ = behind("embedding", subject, task)
    rest = Subject(nn.Sequential(nn.Flatten(), m.hidden, m.act, m.out))
    vectors = Task("vectors", x, x.flip(0), task.answers, task.wrong, kind="image", groups=[0, 1, 2, 3])
    moves = moved(1, *x.shape)
    for measure in (max_sensitivity, local_lipschitz):
        found = measure(subject, task, explain, radius=moves)
        torch.testing.assert_close(found, measure(rest, vectors, explain, radius=moves), rtol=1e-8, atol=0)


def test_a_linear_network_is_as_robust_as_it_must_be():
    net = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(12, 3)).double()
    ids = torch.randint(7, (5, 3), generator=torch.Generator().manual_seed(0))
    answers = torch.tensor([0, 1, 2, 0, 1])
    subject, task = Subject(net), Task("linear", ids, ids.flip(0), answers, (answers + 1) % 3, kind="tokens")
    assert float(local_lipschitz(subject, task, gradient).max()) == 0.0
    moves = moved(2, 5, 3, 4)
    with torch.no_grad():
        slope = (net[2].weight[answers] - net[2].weight[(answers + 1) % 3]).view(5, 3, 4)
        want = (moves * slope).flatten(2).norm(dim=2).amax(0) / (net[0](ids) * slope).flatten(1).norm(dim=1)
    found = max_sensitivity(subject, task, partial(gradient, times="input"), radius=moves)
    torch.testing.assert_close(found, want, rtol=1e-9, atol=0)


def test_texts_of_unequal_length_and_every_kind_of_method_can_be_compared():
    subject = mt.load("organism:language")
    task = subject.organism.truth.task("agreement", 20, 0)
    lengths = subject.bind(task).inputs.lengths
    task = task[[int(lengths.argmin()), int(lengths.argmax())]]
    assert int(lengths.min()) < int(lengths.max())
    methods = {"gradient": gradient, "occlusion": occlusion, "integrated": partial(integrated_gradients, steps=4)}
    measures = [Measure(m.__name__, "robustness", "lower", lambda c, m=m: m(c.subject, c.task, c.explain, draws=2))
                for m in (max_sensitivity, local_lipschitz)]  # fmt: skip
    table = evaluate(subject, task, methods, measures=measures).table.set_index(["measure", "method"])["mean"]
    assert (table > 0).all()
    assert table["max_sensitivity", "random map"] > table["max_sensitivity", "gradient"], "a random map is drawn anew"
    small, large, again, other = (
        max_sensitivity(subject, task, gradient, radius=radius, draws=2, seed=seed)
        for radius, seed in ((1e-4, 0), (1e-1, 0), (1e-1, 0), (1e-1, 1))
    )
    assert bool((10 * small < large).all())
    torch.testing.assert_close(again, large, rtol=0, atol=0)
    assert not torch.equal(other, large)


def test_what_does_not_fit_is_refused():
    subject, task = model("embedding", 1)
    for wrong in (torch.ones(3, 4, 4, 6), torch.ones(3, 2, 4, 5), torch.ones(3)):
        with pytest.raises(ShapeError, match="do not fit"):
            max_sensitivity(subject, task, gradient, radius=wrong)
    with pytest.raises(UsageError, match="radius"):
        max_sensitivity(subject, task, gradient, radius=0.0)
    with pytest.raises(UsageError, match="draws"):
        local_lipschitz(subject, task, gradient, draws=0)
    flat = replace(task, kind="image", clean=task.clean.byte())
    with pytest.raises(UsageError, match="cannot be moved"):
        max_sensitivity(subject, flat, gradient)

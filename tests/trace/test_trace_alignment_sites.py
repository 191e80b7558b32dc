"""Alignments of causal variables: the sampler, compiled organisms, images, other modules, refusals."""

import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn

import microtome as mt
from microtome.errors import Degenerate, NonFinite, ShapeError, SiteError, SubjectMismatch, UsageError
from microtome.rng import torch_rng
from microtome.stimuli import CausalModel, Interchanges, interchanges
from microtome.stimuli.equality import equality_model, equality_pairs
from microtome.trace import (
    AlignedLinear,
    das,
    interchange,
    mdas,
    reversible_alignment,
)
from microtome.trace.alignment.data import prepare
from microtome.trace.alignment.score import interchange_logits
from microtome.trace.alignment.suffix import Suffix


def linear_subject(width=6, seed=0):
    """A read-out of the sum of two units; the variable is that sum."""
    net = nn.Sequential(nn.Identity(), nn.Linear(width, 2, bias=False))
    with torch.no_grad():
        net[1].weight.zero_()
        net[1].weight[:, :2] = torch.tensor([[3.0, 3.0], [-3.0, -3.0]])
    return mt.Subject(net)


def sum_pairs(n=300, width=6, seed=0):
    base, source = torch.randn(2, n, width, generator=torch_rng(seed, "pairs"))
    return Interchanges("sum", base, {"sum": source}, (source[:, :2].sum(1) < 0).long(), (base[:, :2].sum(1) < 0).long())


def test_sampler_is_balanced_and_its_labels_equal_the_causal_model():
    pairs = equality_pairs(600, 3)
    target = torch.stack(list(pairs.chosen.values()), 1)
    for which in ([True, False], [False, True], [True, True]):
        rows = (target == torch.tensor(which)).all(1)
        assert int(rows.sum()) == 200
        assert abs(float(pairs.labels[rows].float().mean()) - 0.5) < 0.02
        assert abs(float(pairs.changed[rows].float().mean()) - 0.5) < 0.02

    def equal(v, side):
        return (v[:, 8 * side : 8 * side + 4] == v[:, 8 * side + 4 : 8 * side + 8]).all(1)

    left = torch.where(pairs.chosen["left"], equal(pairs.sources["left"], 0), equal(pairs.base, 0))
    right = torch.where(pairs.chosen["right"], equal(pairs.sources["right"], 1), equal(pairs.base, 1))
    assert torch.equal(pairs.labels, (left == right).long())
    constant = CausalModel(["a", "m", "o"], {"a": [0, 1]}, {"m": ["a"], "o": ["m"]}, {"m": lambda a: a, "o": lambda m: 0})
    with pytest.raises(Degenerate, match="changes the answer"):
        interchanges(constant, 10, lambda s, seed: torch.zeros(len(s), 1), lambda s: s["o"])
    with pytest.raises(UsageError, match="left"):
        interchanges(equality_model(), 10, lambda s, seed: None, lambda s: 0, variables=["lefft"])


def test_compiled_scm_recovers_its_planted_mediator_and_a_twin_does_not():
    """The sign of an outcome, with the planted unit of `first` as variable: IIA on held-out pairs."""

    class Sign(nn.Module):
        def __init__(self, scm):
            super().__init__()
            self.scm = scm

        def forward(self, x):
            y = self.scm(x)[:, 0]
            return torch.stack([y, -y], 1)

    organism = mt.load("organism:compiled-scm")
    subject = mt.Subject(Sign(organism.module))
    node, unit = organism.organism.truth.planted
    base, source = torch.randn(2, 2000, 3, generator=torch_rng(0, "scm pairs"))
    run = [organism.run(x, record=[node]) for x in (base, source)]
    h = run[0][node].clone()
    h[:, unit] = run[1][node][:, unit]
    edited = organism.run(base, edits=[mt.patch(node, h)]).logits[:, 0]
    pairs = Interchanges("scm", base, {"m": source}, (edited < 0).long(), (run[0].logits[:, 0] < 0).long())
    pairs = pairs[(pairs.changed | (torch.rand(2000, generator=torch_rng(1, "keep")) < 0.35)).numpy()]
    known, held = pairs.split(0)
    settings = {"site": f"scm.{node}", "size": 1, "steps": 400, "lr": 0.03}
    assert interchange(subject, held, das(subject, known, **settings)).estimate.value >= 0.95
    twin = subject.twin(seed=1)
    assert interchange(twin, held, das(twin, known, **settings)).estimate.value <= 0.75


def test_images_are_aligned_channel_by_channel():
    net = nn.Sequential(nn.Conv2d(1, 4, 1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    base, source = torch.randn(2, 6, 1, 5, 5)
    pairs = Interchanges("image", base, {"c": source}, torch.tensor([0, 1] * 3), torch.tensor([1, 1] * 3))
    data = prepare(mt.Subject(net), pairs, "1")
    assert data.base.shape == (6, 5, 5, 4)
    assert data.suffix.how == "sequential"
    whole = AlignedLinear("1", torch.eye(4), {"c": [0, 1, 2, 3]}, decoder=torch.eye(4))
    assert torch.allclose(interchange_logits(data, whole), net(source), atol=1e-5)


def test_other_modules_run_in_full():
    class Forked(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(7, 2)

        def forward(self, x):
            return self.b(torch.cat([self.a(x), x], 1))

    x = torch.randn(5, 3)
    suffix = Suffix(mt.Subject(Forked()), mt.Subject(Forked()).inputs(x), "a")
    assert suffix.how == "full"
    assert torch.allclose(suffix(suffix.values, torch.arange(5)), suffix.logits)


def test_refusals():
    subject, pairs = linear_subject(), sum_pairs()
    with pytest.raises(SiteError, match="no site"):
        das(subject, pairs, site="nowhere")
    with pytest.raises(UsageError, match="do not fit"):
        das(subject, pairs, site="0", size=7)
    with pytest.raises(Degenerate, match="doing nothing"):
        das(subject, replace(pairs, labels=pairs.before), site="0", size=1)
    with pytest.raises(ShapeError, match="equal length"):
        das(subject, replace(pairs, sources={"sum": pairs.base[:, :5]}), site="0", size=1)
    with pytest.raises(NonFinite):
        das(subject, replace(pairs, base=pairs.base * float("nan")), site="0", size=1)
    with pytest.raises(ShapeError, match="number per class"):
        das(mt.Subject(nn.Sequential(nn.Identity(), nn.Linear(6, 1))), pairs, site="0", size=1)
    odd = replace(pairs, base=pairs.base[:, :5], sources={"sum": pairs.base[:, :5]})
    with pytest.raises(UsageError, match=r"odd.*rotation"):
        reversible_alignment(mt.Subject(nn.Sequential(nn.Identity(), nn.Linear(5, 2))), odd, site="0", size=1)
    basis = das(subject, pairs, site="0", size=1, steps=2)
    with pytest.raises(SubjectMismatch, match="refit"):
        interchange(mt.Subject(nn.Sequential(nn.Identity(), nn.Linear(6, 2))), pairs, basis)
    with pytest.raises(UsageError, match="kinds"):
        mdas(subject, pairs, site="0", size=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert repr(basis).startswith("AlignedLinear(das")

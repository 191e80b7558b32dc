"""Conductance, integrated Jacobians and nested paths against slow loops and identities."""

import numpy as np
import pytest
import torch
from attribute_models import behind, model
from torch import nn

from microtome.attribute import conductance, iia, integrated_gradients, integrated_jacobians, merge, paths
from microtome.errors import SiteError, UsageError
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject
from microtome.testing.planted_network import planted_network


def split(seed: int):
    """An mlp's layers below and above module 1, without the package."""
    subject, task = model("mlp", seed)
    x, _ = behind("mlp", subject, task)
    rows = torch.arange(4)

    def above(h):
        logits = subject.module[2:](h)
        return logits[rows, task.answers] - logits[rows, task.wrong]

    return subject, task, x, subject.module[:2], above


@pytest.mark.parametrize("seed", [0, 1])
def test_conductance_agrees_with_a_slow_riemann_sum(seed):
    subject, task, x, below, above = split(seed)
    found = conductance(subject, task, at="1", steps=60)
    total, n = torch.zeros(4, 10, dtype=torch.float64), 2000
    for k in range(n):
        ends = [below(x * (k + i) / n).detach() for i in (0, 1)]
        middle = ((ends[0] + ends[1]) / 2).requires_grad_(True)
        total += torch.autograd.grad(above(middle).sum(), middle)[0] * (ends[1] - ends[0])
    torch.testing.assert_close(found.values, total, atol=2e-3, rtol=5e-3)
    assert float(found.relative_residual.max()) < 0.02


def test_conductance_of_the_input_equals_integrated_gradients_and_cuts_are_complete():
    subject, task = model("mlp", 1)
    torch.testing.assert_close(conductance(subject, task, steps=200).values, integrated_gradients(subject, task).values,
                               atol=1e-3, rtol=1e-3)  # fmt: skip
    planted = planted_network(0)
    for at in ("embed", "blocks.0.resid_post", "blocks.1.resid_post"):
        found = conductance(planted.subject, planted.task, at=at, baseline="corrupt")
        difference = (found.output - found.reference).abs().mean()
        assert float(found.residual.abs().max()) < 0.01 * float(difference)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.mix, self.out = nn.Embedding(7, 5), nn.Linear(15, 8), nn.Linear(8, 4)

    def forward(self, input_ids):
        return self.out(torch.tanh(self.mix(self.embed(input_ids).flatten(1))))


@pytest.fixture(scope="module")
def siamese():
    from microtome.organisms.fit import seeded

    net = seeded(Encoder, 0, "siamese test").double()
    g = torch.Generator().manual_seed(0)
    a, b = torch.randint(7, (2, 3, 3), generator=g)
    one = torch.ones(3, dtype=torch.long)
    return net, a, b, lambda x, y: Task("pairs", x, y, one, 1 - one, kind="tokens", groups=[0, 1, 2])


def test_integrated_jacobians_agree_with_a_slow_loop(siamese):
    net, a, b, task = siamese
    found = integrated_jacobians(Subject(net), task(a, b), at="embed", steps=12)
    tail = lambda h: net.out(torch.tanh(net.mix(h.flatten(1))))  # noqa: E731
    nodes, weights = np.polynomial.legendre.leggauss(12)
    for i in range(3):
        sides = []
        for ids in (a, b):
            x = net.embed.weight[ids[i : i + 1]].detach()
            jacobian = sum(w / 2 * torch.autograd.functional.jacobian(tail, (t + 1) / 2 * x) for t, w in zip(nodes, weights))
            sides.append((jacobian[0, :, 0] * x[0]).sum(-1))
        torch.testing.assert_close(found.values[i], sides[0].T @ sides[1])
    assert found.axes == ("batch", "position", "other")
    e = [net(ids) for ids in (a, b)]
    torch.testing.assert_close(found.output, (e[0] * e[1]).sum(1).detach())
    torch.testing.assert_close(found.values.sum((1, 2)) + found.reference, found.output, atol=1e-6, rtol=0)
    terms = found.terms
    reference = terms["f(reference, b)"] + terms["f(a, reference)"] - terms["f(reference, reference)"]
    torch.testing.assert_close(reference, found.reference)


def test_integrated_jacobians_transpose_scale_and_save(siamese, tmp_path):
    net, a, b, task = siamese
    found, turned = (integrated_jacobians(Subject(net), t, at="embed") for t in (task(a, b), task(b, a)))
    torch.testing.assert_close(turned.values.mT, found.values)
    cosine = integrated_jacobians(Subject(net), task(a, b), at="embed", similarity="cosine")
    e = [net(ids).detach() for ids in (a, b)]
    torch.testing.assert_close(cosine.output, torch.cosine_similarity(*e))
    torch.testing.assert_close(cosine.values * (e[0].norm(dim=1) * e[1].norm(dim=1))[:, None, None], found.values)
    found.save(tmp_path / "a.safetensors")
    again = type(found).load(tmp_path / "a.safetensors")
    assert again.lost == {}
    assert set(again.terms) == set(found.terms)
    assert all(torch.equal(again.terms[name], value) for name, value in found.terms.items())
    assert all(torch.equal(found[1:].terms[name], value[1:]) for name, value in found.terms.items())
    assert all(torch.equal(merge([found[:1], found[1:]]).terms[name], value) for name, value in found.terms.items())
    with pytest.raises(UsageError, match="similarity"):
        integrated_jacobians(Subject(net), task(a, b), at="embed", similarity="euclid")
    with pytest.raises(SiteError, match="positions"):
        integrated_jacobians(Subject(net), task(a, b), at="mix")


@pytest.mark.parametrize("seed", [0, 1])
def test_nested_paths_equal_a_slow_loop_and_their_identity(seed):
    subject, task, x, below, above = split(seed)
    found = iia(subject, task, at="1", steps=6)
    nodes, weights = paths.gauss_legendre(6)
    total, mean = torch.zeros(4, 10, dtype=torch.float64), 0.0
    for v, wv in zip(nodes, weights):
        h = below(v * x).detach()
        mean = mean + wv * above(h).detach()
        for u, wu in zip(nodes, weights):
            point = (u * h).requires_grad_(True)
            total += wv * wu * h * torch.autograd.grad(above(point).sum(), point)[0]
    torch.testing.assert_close(found.values, total)
    want = mean - above(torch.zeros_like(h)).detach()
    torch.testing.assert_close(found.output - found.reference, want)
    assert float(iia(subject, task, at="1", steps=24).residual.abs().max()) < 1e-2
    assert iia(subject, task, at=["1", "3"], steps=3).method == "IIA3"


def test_chunks_do_not_change_sums(monkeypatch):
    subject, task = model("mlp", 1)
    whole = [f(subject, task, at="1").values for f in (conductance, iia)]
    monkeypatch.setattr(paths, "CHUNK_BYTES", 3 * 4 * 10 * 8)
    for f, want in zip((conductance, iia), whole):
        torch.testing.assert_close(f(subject, task, at="1").values, want)


@pytest.mark.parametrize("call", [lambda s, t: conductance(s, t, steps=0), lambda s, t: iia(s, t, steps=1.5),
                                  lambda s, t: iia(s, t, at=[])])  # fmt: skip
def test_path_refusals(call):
    with pytest.raises(UsageError, match=r"steps|at names"):
        call(*model("mlp", 0))

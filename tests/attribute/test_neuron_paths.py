"""Neuron paths: a slow loop, a planted chain, the identity of their shares, and what edits do."""

import numpy as np
import pytest
import torch
from attribute_models import model
from torch import nn

from microtome.attribute import NeuronPaths, neuron_path
from microtome.errors import FormatError, ShapeError, SiteError, UsageError
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject
from microtome.testing.planted_network import planted_network


def deep(seed: int) -> tuple[nn.Sequential, Task]:
    g = torch.Generator().manual_seed(seed)
    parts = [nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 5), nn.Softplus(), nn.Linear(5, 3)]
    net = nn.Sequential(*parts).double()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64))
    x = torch.randn(5, 4, generator=g, dtype=torch.float64)
    y = torch.randint(3, (5,), generator=g)
    return net, Task("t", x, -x, y, (y + 1) % 3, kind="image", groups=list(range(5)))


def slow(net: nn.Sequential, x, y, score: str, steps: int):
    """One example, one candidate and one node at a time."""
    first = net[:2](x).detach()
    second = net[2:4](first).detach()
    nodes, weights = np.polynomial.legendre.leggauss(steps)

    def slopes(scale_first, scale_second):
        """Integrals of d p_y / d (layer 1, layer 2) with cells scaled."""
        total = [torch.zeros_like(first), torch.zeros_like(second)]
        for node, weight in zip(nodes, weights):
            a = (node + 1) / 2
            h = (first * torch.where(scale_first, a, 1.0)).requires_grad_(True)
            below = net[2:4](h)
            k = below if scale_second is None else torch.where(scale_second, a * second, below)
            grad = torch.autograd.grad(net[4](k).softmax(-1)[y], [h, k])
            total = [t + weight / 2 * g for t, g in zip(total, grad)]
        return total

    g1 = slopes(torch.ones(6, dtype=torch.bool), None)[0]
    i = int((first * g1).argmax())
    one = torch.zeros(6, dtype=torch.bool)
    one[i] = True
    g1, g2 = slopes(one, torch.ones(5, dtype=torch.bool))
    found = (first[i] + second) * (g1[i] + g2) if score == "product" else first[i] * g1[i] + second * g2
    return i, int(found.argmax())


@pytest.mark.parametrize("score", ["product", "sum"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_search_equals_a_slow_loop(seed, score):
    net, task = deep(seed)
    found = neuron_path(Subject(net), task, sites=["1", "3"], steps=9, score=score)
    want = [slow(net, x, int(y), score, 9) for x, y in zip(task.clean, task.answers)]
    assert found.units.tolist() == [list(w) for w in want]


def test_shares_add_up_and_scaling_is_by_hand():
    net, task = deep(2)
    subject = Subject(net)
    found = neuron_path(subject, task, sites=["1", "3"], steps=30)
    assert float(found.residual.abs().max()) < 1e-9
    h = net[:2](task.clean).detach()
    for factor in (0.0, 2.0):
        rows = torch.arange(5)
        a = h.clone()
        a[rows, found.units[:, 0]] *= factor
        b = net[2:4](a).detach()
        b[rows, found.units[:, 1]] *= factor
        want = net[4](b).softmax(-1)[rows, task.answers].detach()
        torch.testing.assert_close(found.scaled(subject, task, factor), want)
    # the path is switched off with the values of its upper units at zero, whatever the lower ones do
    torch.testing.assert_close(found.off, found.scaled(subject, task, 0.0))
    torch.testing.assert_close(found.scaled(subject, task, 1.0), found.output)


def test_a_transformer_has_a_path_at_a_position_and_batches_do_not_matter():
    planted = planted_network(0)
    found = neuron_path(planted.subject, planted.task, position=-1, steps=6)
    assert found.sites == ("blocks.0.mlp.hidden", "blocks.1.mlp.hidden")
    assert found.units.shape == (12, 2)
    alone = neuron_path(planted.subject, planted.task[:1], position=-1, steps=6)
    assert torch.equal(alone.units, found.units[:1])
    assert len(found.table) == 24
    other = found.like(found.units.flip(0))
    assert other.scaled(planted.subject, planted.task, 0.0).shape == (12,)


def test_it_survives_json_and_refuses_others():
    net, task = deep(0)
    found = neuron_path(Subject(net), task, sites=["1", "3"], steps=3)
    again = NeuronPaths.from_json(found.to_json())
    assert again.to_json() == found.to_json()
    assert again.units.equal(found.units)
    for bad in (
        {},
        {**found.to_json(), "units": [[1.5]]},
        {**found.to_json(), "off": [float("nan")] * 5},
        {**found.to_json(), "shares": "x"},
    ):
        with pytest.raises(FormatError):
            NeuronPaths.from_json(bad)
    with pytest.raises(ShapeError, match="examples"):
        found.scaled(Subject(net), task[:2], 0.0)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [({"sites": ["1"], "score": "best"}, UsageError, "score"), ({}, UsageError, "no blocks"),
     ({"sites": ["1"], "steps": 0}, UsageError, "steps")],
)  # fmt: skip
def test_neuron_path_refuses(settings, error, words):
    with pytest.raises(error, match=words):
        neuron_path(*model("mlp", 0), **settings)


def test_neuron_path_refuses_maps_and_places_outside():
    with pytest.raises(SiteError, match="units on the last axis"):
        neuron_path(*model("cnn", 0), sites=["1"])
    planted = planted_network(0)
    with pytest.raises(UsageError, match="outside"):
        neuron_path(planted.subject, planted.task, position=9)

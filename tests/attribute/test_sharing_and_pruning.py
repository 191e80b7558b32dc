"""Sharing ratios against pairs of places by hand; gates replayed; removal scored anew against zeroed weights."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from microtome.attribute import pattern_logits, pruning_order, srd, unit_relevance
from microtome.attribute.pruning_order import removal_steps, removed
from microtome.errors import ShapeError, UsageError
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject

Y = torch.tensor([0, 2, 1, 3])


def drawn(*parts: nn.Module) -> nn.Sequential:
    net = nn.Sequential(*parts).double().eval()
    g = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in (*net.parameters(), *(b for n, b in net.named_buffers() if "running_mean" in n)):
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64) * 0.5)
    return net


def task(x: torch.Tensor) -> Task:
    return Task("t", x, x.flip(0), Y, torch.full_like(Y, 4), kind="image", groups=[0, 1, 2, 3])


def images(side: int = 6) -> torch.Tensor:
    return torch.randn(4, 2, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def slow_share(layer: nn.Module, v: torch.Tensor, above: torch.Tensor) -> torch.Tensor:
    """Relevance of places [y, x] from that above, one pair of places at a time."""
    u, (height, width) = layer(v[None])[0], v.shape[1:]
    found = torch.zeros(height, width, dtype=v.dtype)
    for p in range(u.shape[1]):
        for q in range(u.shape[2]):
            at = u[:, p, q]
            if isinstance(layer, nn.MaxPool2d):
                for c in range(len(at)):
                    window = v[c, 2 * p : 2 * p + 2, 2 * q : 2 * q + 2]
                    k = int(window.argmax())
                    found[2 * p + k // 2, 2 * q + k % 2] += at[c] ** 2 / (at @ at) * above[p, q]
                continue
            near = [(p + i - 1, q + j - 1, i, j) for i in range(3) for j in range(3)]
            near = [c for c in near if 0 <= c[0] < height and 0 <= c[1] < width]
            for y, x, i, j in near:
                part = layer.weight[:, :, i, j] @ v[:, y, x] + layer.bias / len(near)
                found[y, x] += part @ at / (at @ at) * above[p, q]
    return found


@torch.no_grad()
def test_srd_equals_pairs_of_places_by_hand():
    net = drawn(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(),
                nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4), nn.ZeroPad1d((0, 1)))  # fmt: skip
    x = images()
    found = srd(Subject(net), task(x)).by_position()
    for k in range(4):
        values = [x[k]]
        for layer in net[:5]:
            values.append(layer(values[-1][None])[0])
        above = (values[5] * net[7].weight[Y[k]][:, None, None]).sum(0) / values[5][0].numel()
        for at in (3, 2, 0):
            above = slow_share(net[at], values[at], above)
        torch.testing.assert_close(found[k], above, rtol=1e-6, atol=1e-8)


def test_srd_loses_nothing_in_convolutions_pools_and_residual_sums():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
            self.pool, self.head = nn.MaxPool2d(2), nn.Linear(3, 4)

        def forward(self, x):
            h = torch.relu(self.a(x))
            h = self.pool(torch.relu(self.b(h) + h))
            return F.pad(self.head(h.mean((2, 3))), (0, 1))

    net = Net().double()
    found = srd(Subject(net), task(images()))
    sent = found.output - net.head.bias[Y].detach()
    torch.testing.assert_close(found.values.flatten(1).sum(1), sent, rtol=1e-5, atol=1e-8)
    assert torch.allclose(sum(v for k, v in found.lost.items() if not k.startswith("head")), torch.zeros(4).double(), atol=1e-6)


def test_gates_on_their_own_input_give_the_network_and_on_others_its_linear_map():
    net = drawn(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3))
    x, carrier = torch.randn(2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    subject = Subject(net)
    with torch.no_grad():
        torch.testing.assert_close(pattern_logits(subject, x, x), net(x), rtol=0, atol=0)
        first = net[0](x) > 0
        second = net[2](net[0](x) * first) > 0
        want = net[4](net[2](net[0](carrier) * first) * second)
        torch.testing.assert_close(pattern_logits(subject, x, carrier), want, rtol=0, atol=0)
        torch.testing.assert_close(pattern_logits(subject, x), pattern_logits(subject, x, torch.ones_like(x)), rtol=0, atol=0)
    with pytest.raises(ShapeError, match="carrier"):
        pattern_logits(subject, x, carrier[:2])
    with pytest.raises(UsageError, match="no ReLU"):
        pattern_logits(Subject(drawn(nn.Linear(5, 3))), x)


def pruned() -> nn.Sequential:
    return drawn(nn.Conv2d(2, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.BatchNorm2d(5), nn.ReLU(),
                 nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4), nn.ZeroPad1d((0, 1)))  # fmt: skip


def test_relevance_without_units_equals_that_of_the_network_with_zeroed_weights():
    net, units = pruned(), [("1", 2), ("4", 0), ("1", 3)]
    cut = copy.deepcopy(net)
    with torch.no_grad():
        for site, unit in units:
            cut.get_submodule(site).weight[unit] = cut.get_submodule(site).bias[unit] = 0.0
    found = unit_relevance(Subject(net), task(images()), ["1", "4"], edits=removed(units))
    want = unit_relevance(Subject(cut), task(images()), ["1", "4"])
    for site in want:
        torch.testing.assert_close(found[site], want[site], rtol=1e-9, atol=1e-12)
        assert all(float(found[s][u]) == 0 for s, u in units)


def test_shares_count_every_example_the_same():
    """Relevance of a network without biases is homogeneous: a picture ten times as bright weighs the same."""
    net = drawn(nn.Conv2d(2, 3, 3, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                nn.Linear(3, 4, bias=False), nn.ZeroPad1d((0, 1)))  # fmt: skip
    bright = images() * torch.tensor([1.0, 10.0, 1.0, 3.0]).reshape(4, 1, 1, 1).double()
    subject = Subject(net)
    plain = unit_relevance(subject, task(images()), ["0"], composite="epsilon", shares=True)["0"]
    torch.testing.assert_close(unit_relevance(subject, task(bright), ["0"], composite="epsilon", shares=True)["0"], plain,
                               rtol=1e-4, atol=1e-6)  # fmt: skip


def test_pruning_order_scores_anew_keeps_units_and_refuses():
    subject, t = Subject(pruned()), task(images())
    steps = pruning_order(subject, t, ["1", "4"], share=0.6, steps=3, keep=2)
    flat = [u for part in steps for u in part]
    assert [len(p) for p in steps] == [2, 2, 3]
    assert len(set(flat)) == 7
    assert all(sum(s == site for s, _ in flat) <= size - 2 for site, size in (("1", 6), ("4", 5)))
    gone = []
    for part in steps:
        scores = unit_relevance(subject, t, ["1", "4"], shares=True, edits=removed(gone))
        left = sorted(float(v) for s, row in scores.items() for u, v in enumerate(row) if (s, u) not in gone)
        if not gone:
            assert [float(scores[s][u]) for s, u in part] == left[: len(part)]
        gone += part
    asked = []
    removal_steps(lambda g: asked.append(list(g)) or {"a": torch.arange(10.0)}, share=0.4, steps=2, keep=1)
    assert asked == [[], [("a", 0), ("a", 1)]]
    with pytest.raises(UsageError, match="keep"):
        pruning_order(subject, t, ["4"], share=0.9, steps=1)
    for wrong in ({"share": 0.0}, {"share": 1.5}, {"steps": 0}):
        with pytest.raises(UsageError, match="share must"):
            pruning_order(subject, t, ["4"], **wrong)

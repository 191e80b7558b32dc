"""Class units and their maps: the projection on a ball and the lasso against solvers, strides against plain upsampling."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from microtome.attribute import class_unit_maps, class_units, guided_backprop
from microtome.attribute.responses import into_ball, mu_lasso, responses
from microtome.attribute.rules.relevance import relevance
from microtome.attribute.rules.stride_free import GUIDED_STRIDE_FREE
from microtome.errors import SiteError, SubjectMismatch, UsageError
from microtome.evidence import Finding
from microtome.rng import torch_rng
from microtome.subject.subject import Subject
from microtome.testing.worlds.class_units import world


@pytest.mark.parametrize("seed", range(5))
def test_into_ball_equals_a_search_over_the_cut(seed):
    row = torch.randn(7, generator=torch_rng(seed, "row"), dtype=torch.float64)
    found = into_ball(row[None], 1.5)[0]
    low, high = 0.0, float(row.abs().max())
    for _ in range(80):
        cut = (low + high) / 2
        left = sum(max(0.0, abs(float(v)) - cut) for v in row)
        low, high = (cut, high) if left > 1.5 else (low, cut)
    slow = [np.sign(v) * max(0.0, abs(v) - high) for v in row.tolist()] if float(row.abs().sum()) > 1.5 else row.tolist()
    np.testing.assert_allclose(found.numpy(), slow, atol=1e-9)


def test_mu_lasso_agrees_with_scikit_learn():
    from sklearn.linear_model import Lasso

    g = torch_rng(0, "lasso")
    x = torch.randn(60, 10, generator=g, dtype=torch.float64)
    noise = 0.1 * torch.randn(60, 1, generator=g, dtype=torch.float64)
    y = x[:, :2] @ torch.tensor([[2.0], [-1.0]], dtype=torch.float64) + noise
    peer = Lasso(alpha=0.3, fit_intercept=False, tol=1e-10, max_iter=100_000).fit(x.numpy(), y[:, 0].numpy())
    radius = float(np.abs(peer.coef_).sum())
    found = mu_lasso(x, y, radius, 3000)[:, 0]
    np.testing.assert_allclose(found.numpy(), peer.coef_, atol=1e-4)


def test_responses_are_norms_by_hand():
    planted = world(0)
    found, names = responses(planted.subject, planted.task.clean, ["1"])
    with torch.no_grad():
        maps = F.relu(planted.subject.module[0](planted.task.clean))
    slow = torch.stack([torch.stack([channel.square().sum().sqrt() for channel in one]) for one in maps])
    torch.testing.assert_close(found, slow / slow.norm(dim=1, keepdim=True))
    assert names == [("1", c) for c in range(8)]


@pytest.mark.parametrize("seed", range(3))
def test_planted_channels_are_recovered(seed):
    planted = world(seed)
    found = class_units(planted.subject, planted.task, mu=0.8, steps=100)
    best = found.table.sort_values("weight").groupby("class").tail(1).sort_values("class")
    assert best["channel"].tolist() == planted.channels
    assert best["stability"].min() == 1.0
    assert found.verdict == "supported"
    assert float(found.controls["largest share of channels kept"]) <= 0.25  # pyright: ignore[reportArgumentType]


def test_maps_equal_guided_gradients_of_the_weighted_norms():
    planted = world(1)
    units = class_units(planted.subject, planted.task, mu=0.8, steps=100, draws=1)
    found = class_unit_maps(planted.subject, planted.task, units, top=1, stride_free=False)
    said = planted.subject.run(planted.task.clean).logits.argmax(1)
    n = 4
    c = int(said[n])
    assert units.table is not None
    mine = units.table[(units.table["class"] == c) & (units.table["weight"] > 0)]
    x = planted.task.clean[n : n + 1].clone().requires_grad_(True)
    maps = F.relu(planted.subject.module[0](x))[0]
    sizes = maps.flatten(1).norm(dim=1)
    scores = [(float(w * sizes[k]), w, k) for w, k in zip(mine["weight"], mine["channel"])]
    _, w, k = max(scores)
    (slope,) = torch.autograd.grad(w * sizes[k] / float(sizes.norm()), x)  # one activation: guided is the gradient
    torch.testing.assert_close(found.values[n], slope[0].float(), atol=1e-6, rtol=1e-4)


def strided(stride: int) -> Subject:
    net = nn.Sequential(nn.Conv2d(2, 3, 3, stride=stride, padding=1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)).double()
    net(torch.zeros(1, 2, 8, 8, dtype=torch.float64))
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            p.copy_(torch.randn(p.shape, generator=torch_rng(i, "strided"), dtype=torch.float64))
    return Subject(net)


def back(subject: Subject, x: torch.Tensor, composite) -> torch.Tensor:
    return relevance(subject, subject.inputs(x), ["0:input"], lambda y: y[:, 0], composite).signal["0:input"]


def test_without_strides_the_stride_free_rule_is_exactly_guided_backpropagation():
    from microtome.attribute.rules import GUIDED

    x = torch.randn(2, 2, 8, 8, generator=torch_rng(9, "x"), dtype=torch.float64)
    torch.testing.assert_close(back(strided(1), x, GUIDED_STRIDE_FREE), back(strided(1), x, GUIDED))


def test_a_stride_is_replaced_by_a_loop_over_places():
    subject = strided(2)
    x = torch.randn(1, 2, 8, 8, generator=torch_rng(9, "x"), dtype=torch.float64)
    conv, head = subject.module[0], subject.module[3]
    with torch.no_grad():
        z = conv(x)
        signal = (head.weight[0].view(1, 3, 4, 4).clamp(min=0) * (z > 0))[0]
        slow = torch.zeros(2, 8, 8, dtype=torch.float64)
        for y in range(8):
            for u in range(8):
                for dy in range(3):
                    for du in range(3):
                        a, b = y + dy - 1, u + du - 1
                        if 0 <= a < 8 and 0 <= b < 8:
                            slow[:, a, b] += torch.einsum("o,oi->i", signal[:, y // 2, u // 2] / 4, conv.weight[:, :, dy, du])
    torch.testing.assert_close(back(subject, x, GUIDED_STRIDE_FREE)[0], slow)


def test_wrong_calls_are_refused():
    planted, other = world(0), world(1)
    units = class_units(planted.subject, planted.task, mu=0.8, steps=50, draws=1)
    with pytest.raises(SubjectMismatch):
        class_unit_maps(other.subject, other.task, units)
    with pytest.raises(UsageError, match="class_units"):
        class_unit_maps(planted.subject, planted.task, Finding("nothing"))
    with pytest.raises(UsageError, match="mu"):
        class_units(planted.subject, planted.task, mu=-1.0)
    with pytest.raises(UsageError, match="empty"):
        class_units(planted.subject, planted.task, sites=[])
    with pytest.raises(SiteError, match="activation"):
        class_units(Subject(nn.Sequential(nn.Conv2d(3, 2, 1))), planted.task)
    assert guided_backprop(planted.subject, planted.task).values.shape == planted.task.clean.shape

"""Attribution-guided pruning: scores by hand, chains cut to the same function, and what cannot be cut."""

import pytest
import torch
from attribute_models import model
from torch import nn

from microtome.attribute import Pruning, attribution_pruning, conductance, integrated_gradients, lrp
from microtome.attribute.pruned_module import without
from microtome.errors import Degenerate, FormatError, UsageError
from microtome.organisms.fit import parameters, seeded
from microtome.organisms.small import convnet
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject


def chain() -> nn.Sequential:
    """Convolutions with a batch norm whose statistics are not those of a new one, pools, a dense head behind four places."""
    net = seeded(lambda: nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 5, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Dropout(0.5), nn.Flatten(), nn.Linear(20, 7), nn.GELU(), nn.Linear(7, 3),
    ), 0, "chain").double()  # fmt: skip
    g = torch.Generator().manual_seed(0)
    for tensor in (net[1].weight.data, net[1].bias.data, net[1].running_mean, net[1].running_var):
        tensor.copy_(torch.rand(tensor.shape, generator=g) + 0.2)
    return net.eval()


def pictures(n: int = 6) -> Task:
    g = torch.Generator().manual_seed(1)
    x, y = torch.randn(n, 1, 8, 8, generator=g, dtype=torch.float64), torch.randint(3, (n,), generator=g)
    return Task("t", x, x.flip(0), y, (y + 1) % 3, kind="image", groups=list(range(n)))


@pytest.mark.parametrize("by", [lrp, integrated_gradients, conductance])
def test_the_smaller_module_is_the_silenced_one(by):
    subject, task = Subject(chain()), pictures()
    found = attribution_pruning(subject, task, sites=["2", "5", "10"], by=by)
    assert [sum(s == site for s, _ in found.units) for site in ("2", "5", "10")] == [3, 2, 4]
    small = found.module(subject)
    silenced = subject.run(task.clean, edits=found.edits).logits
    torch.testing.assert_close(small(task.clean), silenced, rtol=1e-10, atol=1e-12)
    assert parameters(small) < 0.45 * parameters(subject.module)
    assert [small[i].weight.shape[:2] for i in (0, 4, 9, 11)] == [(3, 1), (3, 3), (3, 12), (3, 3)]
    assert (small[0].out_channels, small[1].num_features, small[9].in_features) == (3, 3, 12)
    torch.testing.assert_close(subject.module(task.clean), chain()(task.clean))  # the subject is as it was


def test_scores_are_mean_absolute_sums_over_places():
    subject, task = Subject(chain()), pictures()
    found = attribution_pruning(subject, task, sites=["2"], by=integrated_gradients, share=0.34)
    value = integrated_gradients(subject, task, at="2").values
    want = [float(sum(abs(float(value[i, u].sum())) for i in range(6)) / 6) for u in range(6)]
    torch.testing.assert_close(found.scores["2"], torch.tensor(want).double())
    lowest = sorted(range(6), key=lambda u: want[u])[:2]
    assert found.units == [("2", u) for u in lowest]
    assert found.table["removed"].sum() == 2


def test_default_sites_are_the_hidden_layers_and_it_survives_json():
    subject, task = model("mlp", 0)
    found = attribution_pruning(subject, task)
    assert list(found.scores) == ["0", "2"]
    again = Pruning.from_json(found.to_json())
    assert again.to_json() == found.to_json()
    assert again.units == found.units
    for bad in ({}, {**found.to_json(), "units": [["0", 99]]}, {**found.to_json(), "scores": 3}):
        with pytest.raises(FormatError):
            Pruning.from_json(bad)


def test_planted_units_stay():
    """Only two of eight hidden units reach the output."""
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)), 0, "planted")
    with torch.no_grad():
        net[2].weight[:, [i for i in range(8) if i not in (3, 6)]] = 0.0
    x = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    zero = torch.zeros(10, dtype=torch.long)
    task = Task("t", x, -x, zero, zero + 1, kind="image", groups=list(range(10)))
    found = attribution_pruning(Subject(net), task, sites=["1"], share=0.75)
    assert {u for _, u in found.units} == set(range(8)) - {3, 6}
    torch.testing.assert_close(found.module(Subject(net))(x), net(x))
    with torch.no_grad():
        net[2].weight.zero_()
    with pytest.raises(Degenerate, match="attribution 0"):
        attribution_pruning(Subject(net), task, sites=["1"])


@pytest.mark.parametrize(
    ("net", "units", "words"),
    [
        (chain(), [("0", 1)], "BatchNorm2d"),
        (chain(), [("11", 1)], "between two layers"),
        (chain(), [("x", 1)], "no layer"),
        (chain(), [("2", u) for u in range(6)], "no unit"),
        (nn.Sequential(nn.Conv2d(2, 4, 1, groups=2), nn.ReLU(), nn.Conv2d(4, 1, 1)), [("1", 0)], "grouped"),
        (nn.Sequential(nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 2)), [("0", 0)], "Sigmoid"),
        (nn.Sequential(convnet([1, 2], 2)), [("0", 0)], "chain of layers"),
    ],
)
def test_what_cannot_be_cut_is_refused(net, units, words):
    with pytest.raises(UsageError, match=words):
        without(net, units)


def test_behind_a_sigmoid_the_output_of_the_sigmoid_can_be_cut():
    net = seeded(lambda: nn.Sequential(nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 2)), 0, "sigmoid")
    x = torch.ones(1, 2)
    subject = Subject(net)
    want = subject.run(x, edits=Pruning({"1": torch.zeros(3)}, [("1", 2)], "").edits).logits
    torch.testing.assert_close(without(net, [("1", 2)])(x), want)


@pytest.mark.parametrize("settings", [{"share": 1.0}, {"keep": 0}, {"sites": []}])
def test_attribution_pruning_refuses(settings):
    with pytest.raises(UsageError, match=r"share|keep|sites"):
        attribution_pruning(*model("mlp", 0), **settings)

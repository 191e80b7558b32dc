"""Worlds with known evidence: what the masks say is what decides the class, and nothing else does."""

import numpy as np
import pytest
import torch

from microtome.errors import ShapeError, UsageError
from microtome.stimuli.tables import GaussianTable, correlated
from microtome.stimuli.vision import blocks, coloured_part, mosaics, panels, scenes


@pytest.mark.parametrize("world", [blocks, panels])
def test_digits_stand_where_the_mask_says(world):
    made = world(60, 2)
    x, signal = made.inputs[:, 0], made.masks["signal"]
    assert x.dtype == torch.float32
    assert float(x.min()) >= 0
    assert float(x.max()) <= 1
    assert bool((made.masks["null"] == ~signal).all())
    assert signal.flatten(1).sum(1).tolist() == [64] * 60
    assert 15 < int(signal[:, 0, 0].sum()) < 45  # a fair coin
    again, other = world(60, 2), world(60, 3)
    torch.testing.assert_close(again.inputs, made.inputs)
    assert not torch.allclose(other.inputs, made.inputs)
    train, test = ({tuple(row.tolist()) for row in world(200, s, half=h).inputs[:, 0][:, :, :].flatten(1)}
                   for s, h in ((0, "train"), (0, "test")))  # fmt: skip
    assert not train & test


def test_the_square_is_always_the_same_and_the_control_keeps_its_place():
    made = blocks(30, 1)
    square = made.inputs[:, 0][made.masks["null"]].view(30, 64)
    assert bool((square == square[:1]).all())
    assert bool(blocks(30, 1, top=True).masks["signal"][:, :8].all())


def test_panels_differ_in_order_only():
    """A panel and its neighbour are of one kind: brightness does not tell which is the digit."""
    made = panels(400, 1)
    x, signal = made.inputs[:, 0], made.masks["signal"]
    inside, outside = ((x * m).sum((1, 2)) for m in (signal, ~signal))
    assert abs(float((inside - outside).mean())) < 4 * float((inside - outside).std()) / 20
    # The label is that of the digit: class means of the digit's panel tell the class, those of the other do not.
    digit = x[signal].view(400, 64)
    other = x[~signal].view(400, 64)
    y = torch.tensor(made.labels("label"))
    hits = []
    for part in (digit, other):
        means = torch.stack([part[:200][y[:200] == c].mean(0) for c in range(10)])
        hits.append(float((torch.cdist(part[200:], means).argmin(1) == y[200:]).float().mean()))
    assert hits[0] > 0.7 > 0.25 > hits[1]


def test_the_colour_of_one_petal_is_the_class():
    made = coloured_part(40, 3)
    part, label = made.masks["part"], made.labels("label")
    for i in range(40):
        inside = made.inputs[i][:, part[i]]
        assert int(inside.mean(1).argmax()) == label[i]
        grey = made.masks["object"][i] & ~part[i]
        assert float(made.inputs[i][:, grey].std()) == pytest.approx(0, abs=1e-6)
    assert abs(np.corrcoef(label, made.labels("petal"))[0, 1]) < 0.5


def test_mosaics_hold_the_pictures_in_the_named_quarters():
    source = scenes(40, 1)
    made = mosaics(source, 10, 2)
    label, asked = source.labels("label"), made.labels("label")
    for i in range(10):
        rows, columns = made.masks["signal"][i].any(1).nonzero()[:, 0], made.masks["signal"][i].any(0).nonzero()[:, 0]
        quarter = made.inputs[i][:, rows][:, :, columns]
        same = [j for j in range(40) if torch.equal(source.inputs[j], quarter)]
        assert same
        assert label[same[0]] == asked[i]
        assert sum(bool(made.masks[f"class:{k}"][i].any()) for k in range(4)) == 4
    few = source[label == 0]
    with pytest.raises(UsageError, match="four classes"):
        mosaics(few, 3)


def test_conditionals_are_those_of_the_precision_matrix_and_shapley_values_add_up():
    table = correlated(4, 1, correlation=0.6)
    known = torch.tensor([True, False, True, False])
    x = torch.tensor([[1.0, 0.0, -0.5, 0.0]], dtype=torch.float64)
    mean, cov = table.conditional(x, known)
    precision = torch.linalg.inv(table.covariance)  # the other way to condition a Gaussian
    inner = torch.linalg.inv(precision[~known][:, ~known])
    torch.testing.assert_close(mean[0], -inner @ precision[~known][:, known] @ x[0, known])
    torch.testing.assert_close(cov, inner)
    rows = table.rows(100_000, 3).inputs.double()
    torch.testing.assert_close(torch.cov(rows.T), table.covariance, atol=0.02, rtol=0)
    assert float(rows.mean(0).abs().max()) < 0.02
    values = table.shapley(x)
    torch.testing.assert_close(values.sum(1), (x - table.mean) @ table.weights)
    # Independent features: each has its own term.
    free = GaussianTable(table.mean, torch.eye(4, dtype=torch.float64), table.weights)
    torch.testing.assert_close(free.shapley(x), x * table.weights)
    labels = table.rows(50, 1)
    assert ((labels.inputs.double() @ table.weights > 0).long().numpy() == labels.labels("label")).mean() > 0.99


def test_refusals_of_worlds():
    for wrong in (lambda: blocks(0), lambda: blocks(3, classes=(1,)), lambda: panels(3, half="all"),
                  lambda: coloured_part(3, side=4), lambda: correlated(1), lambda: correlated(4).rows(0),
                  lambda: correlated(13).shapley(torch.zeros(1, 13))):  # fmt: skip
        with pytest.raises(UsageError):
            wrong()
    with pytest.raises(ShapeError, match="features"):
        correlated(4).conditional(torch.zeros(1, 3), torch.zeros(4, dtype=torch.bool))

"""Simulatability: counts by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from microtome.attribute import simulatability
from microtome.errors import ShapeError, UsageError


def test_a_module_is_counted_exactly():
    net = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.Flatten(), nn.Linear(8, 3))
    found = simulatability(net, torch.ones(5, 1, 4, 4))
    assert found.multiply_adds == found.steps == 2 * 4 * 9 + 8 * 3
    assert (found.comparisons, found.parameters) == (0.0, 18 + 27)


def test_inputs_without_influence_are_not_counted():
    net = nn.Linear(6, 2)
    with torch.no_grad():
        net.weight[:, [1, 4]] = 0.0
    assert simulatability(net, torch.ones(3, 6)).inputs_used == 4.0


def test_a_tree_is_counted_by_hand():
    from sklearn.tree import DecisionTreeClassifier

    g = np.random.default_rng(0)
    x = g.normal(size=(300, 5))
    y = (x[:, 1] > 0) & (x[:, 3] > 0)
    tree = DecisionTreeClassifier(max_depth=2, random_state=0).fit(x, y)
    found = simulatability(tree, x)
    root = tree.tree_.feature[0]
    down = x[:, root] > tree.tree_.threshold[0]
    assert found.comparisons == found.inputs_used == pytest.approx(1 + down.mean())
    assert (found.multiply_adds, found.parameters) == (0.0, 2 * 2 + 3)


def test_a_linear_model_uses_its_non_zero_coefficients():
    from sklearn.linear_model import Lasso

    g = np.random.default_rng(0)
    x = g.normal(size=(100, 20))
    model = Lasso(alpha=0.3).fit(x, 2 * x[:, 4] - 3 * x[:, 7])
    found = simulatability(model, x)
    assert (found.multiply_adds, found.inputs_used, found.parameters) == (2.0, 2.0, 3)


def test_other_models_are_refused():
    with pytest.raises(UsageError, match="got object"):
        simulatability(object(), np.ones((2, 2)))
    with pytest.raises(ShapeError, match="at least one"):
        simulatability(nn.Linear(2, 2), torch.ones(0, 2))

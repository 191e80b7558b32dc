"""Could a person step through this model? Operations, parameters and inputs that one prediction takes (Lipton 2018)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from microtome.errors import ShapeError, UsageError
from microtome.rng import torch_rng


@dataclass(frozen=True)
class Simulatability:
    """What a person must do to arrive at one prediction by hand.

    Attributes
    ----------
    multiply_adds : float
        Per example.
    comparisons : float
        Per example; branches of a tree.
    parameters : int
        Numbers that must be known in all.
    inputs_used : float
        Distinct inputs that the prediction depends on, per example.
    """

    multiply_adds: float
    comparisons: float
    parameters: int
    inputs_used: float

    @property
    def steps(self) -> float:
        """Multiply-adds and comparisons."""
        return self.multiply_adds + self.comparisons


def simulatability(model: Any, x: Any) -> Simulatability:
    """Count what one prediction takes, averaged over examples.

    Four counts that stay apart: there is no one score of interpretability.

    Parameters
    ----------
    model : nn.Module, or fitted scikit-learn tree or linear model
        Modules: multiply-adds of matrix products and convolutions; an input counts as used when the output's gradient
        with respect to it is not zero. Trees: comparisons on the decision path and the features that they ask for.
        Linear models: non-zero coefficients.
    x : Tensor or ndarray [n, ...]
        Inputs of the model.

    Returns
    -------
    Simulatability

    Raises
    ------
    UsageError
        For a model of another kind.
    ShapeError
        Without an example.

    Notes
    -----
    Null: none; these are counts. A random network of the same shape has the same operations.
    Misleads when inputs are engineered (a polynomial feature is not an input that a person knows), and when one takes few
    operations for understanding.

    Examples
    --------
    >>> simulatability(nn.Sequential(nn.Linear(10, 3), nn.ReLU(), nn.Linear(3, 1)), torch.ones(2, 10)).multiply_adds
    33.0

    References
    ----------
    Lipton (2018). The Mythos of Model Interpretability. https://arxiv.org/abs/1606.03490
    """
    if len(x) == 0:
        raise ShapeError("simulatability needs at least one example, got 0.")
    if isinstance(model, nn.Module):
        return _of_module(model, torch.as_tensor(x))
    if hasattr(model, "tree_"):
        return _of_tree(model, np.asarray(x))
    if hasattr(model, "coef_"):
        return _of_linear(np.asarray(model.coef_), np.size(model.intercept_))
    raise UsageError(
        f"simulatability counts torch modules, fitted trees (tree_) and linear models (coef_), got {type(model).__name__}."
    )


def _of_module(model: nn.Module, x: Tensor) -> Simulatability:
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(x)
    leaf = x.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        out = model(leaf)
        # Random weights of the outputs, so that influences on two of them do not cancel.
        weights = torch.rand(out.shape, generator=torch_rng(0, "simulatability")).to(out)
        (grad,) = torch.autograd.grad((out * weights).sum(), leaf)
    used = (grad != 0).reshape(len(x), -1).sum(dim=1).double().mean()
    parameters = sum(p.numel() for p in model.parameters())
    return Simulatability(counter.get_total_flops() / 2 / len(x), 0.0, parameters, float(used))


def _of_tree(model: Any, x: np.ndarray) -> Simulatability:
    tree = model.tree_
    path = model.decision_path(x)  # sparse [n, nodes]
    inner = tree.children_left != -1
    asked = [np.unique(tree.feature[nodes[inner[nodes]]]) for nodes in np.split(path.indices, path.indptr[1:-1])]
    comparisons = np.asarray(path[:, inner].sum(axis=1)).mean()
    parameters = 2 * int(inner.sum()) + int((~inner).sum())
    return Simulatability(0.0, float(comparisons), parameters, float(np.mean([len(a) for a in asked])))


def _of_linear(coefficients: np.ndarray, intercepts: int) -> Simulatability:
    rows = np.atleast_2d(coefficients)
    live = float((rows != 0).sum())
    return Simulatability(live, 0.0, int(live) + intercepts, float((rows != 0).any(axis=0).sum()))

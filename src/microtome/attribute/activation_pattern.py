"""What a network says by its activation pattern alone: the gates of one input, the values of another."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from microtome.attribute.rules.calls import name_of
from microtome.errors import ShapeError, UsageError


class _Gates(TorchFunctionMode):
    """Keeps which units every ReLU lets through, or lets through those that were kept."""

    def __init__(self, kept: list[Tensor] | None = None) -> None:
        super().__init__()
        self.kept, self.replay, self.at = kept if kept is not None else [], kept is not None, 0

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if name_of(func)[0] != "relu":
            return func(*args, **(kwargs or {}))
        z = args[0] if args else (kwargs or {})["input"]
        if not self.replay:
            self.kept.append(z.detach() > 0)
            return z * self.kept[-1]
        gate = self.kept[self.at]
        self.at += 1
        return z * gate


def pattern_logits(subject: Any, x: Tensor, carrier: Tensor | None = None) -> Tensor:
    """Logits of the network with every ReLU's gates as `x` sets them, run on `carrier`.

    ``y = f(carrier)`` with ``relu(z)`` replaced by ``z 1[z(x) > 0]``: activation-pattern-only prediction.

    Parameters
    ----------
    subject : Subject
        A network whose activations are ReLUs.
    x : Tensor[n, ...]
        Inputs that set the gates.
    carrier : Tensor[n, ...], optional
        Inputs whose values run through them; default ones.

    Returns
    -------
    Tensor[n, classes]

    Raises
    ------
    UsageError
        When the network calls no ReLU.
    ShapeError
        When the two inputs differ in shape.

    Notes
    -----
    Null: the gates of another input.

    Examples
    --------
    >>> from microtome.subject.subject import Subject
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.ReLU())
    >>> net[0].weight.data = torch.eye(2)
    >>> pattern_logits(Subject(net), torch.tensor([[2.0, -3.0]])).tolist()
    [[1.0, 0.0]]

    References
    ----------
    Han et al. (2024). Respect the model: Fine-grained and Robust Explanation with Sharing Ratio Decomposition.
    https://arxiv.org/abs/2402.03348
    """
    ones = torch.ones_like(x) if carrier is None else carrier
    if ones.shape != x.shape:
        raise ShapeError(f"the carrier is {list(ones.shape)}, but the inputs that set the gates are {list(x.shape)}.")
    with torch.no_grad():
        with _Gates() as seen:
            subject.module(x)
        if not seen.kept:
            raise UsageError(f"{subject.name} calls no ReLU: it has no activation pattern.")
        with _Gates(seen.kept):
            return subject.module(ones)

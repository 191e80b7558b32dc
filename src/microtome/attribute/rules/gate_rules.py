"""Rules in the gradient form: gates of activations, soft pooling, and the rules of attention layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from microtome.attribute.rules.calls import Call, argument, only, vjp
from microtome.attribute.rules.rule import Form
from microtome.errors import UsageError


@dataclass(frozen=True)
class Guided:
    """Guided backpropagation: the gradient, where the signal from above is positive as well."""

    form: ClassVar[Form] = "gradient"

    def back(self, call: Call, inputs: Sequence[Tensor], out: Tensor, signal: Tensor) -> list[Tensor]:
        return call.vjp(inputs, signal.clamp(min=0))


@dataclass(frozen=True)
class Deconv:
    """Deconvnet: the positive part of the signal, whether the unit was on or not."""

    form: ClassVar[Form] = "gradient"

    def back(self, call: Call, inputs: Sequence[Tensor], out: Tensor, signal: Tensor) -> list[Tensor]:
        only(inputs, call, "Deconv")
        return [signal.clamp(min=0)]


@dataclass(frozen=True)
class SoftGate:
    """Excitation pullback of a ReLU: the step 1[z > 0] becomes sigmoid(z / temperature)."""

    temperature: float = 0.3
    form: ClassVar[Form] = "gradient"

    def back(self, call: Call, inputs: Sequence[Tensor], out: Tensor, signal: Tensor) -> list[Tensor]:
        return [signal * torch.sigmoid(only(inputs, call, "SoftGate") / self.temperature)]


@dataclass(frozen=True)
class SoftPool:
    """Excitation pullback of a max pool: the gradient of sum_w softmax(x_w / temperature) x_w over each window."""

    temperature: float = 0.3
    form: ClassVar[Form] = "gradient"

    def back(self, call: Call, inputs: Sequence[Tensor], out: Tensor, signal: Tensor) -> list[Tensor]:
        x = only(inputs, call, "SoftPool")
        size, stride, padding = pool_window(call)
        if call.name != "max_pool2d":
            raise UsageError(f"SoftPool is for max_pool2d, not for {call}.")

        def soft(value: Tensor) -> Tensor:
            padded = F.pad(value, (padding, padding, padding, padding), value=-1e9)
            cells = padded.unfold(2, size, stride).unfold(3, size, stride).flatten(-2)
            return ((cells / self.temperature).softmax(-1) * cells).sum(-1)

        return vjp(soft, [x], signal)


@dataclass(frozen=True)
class Stop:
    """The function counts as a constant: its value carries no relevance, and what it multiplies gets all of it."""

    form: ClassVar[Form] = "gradient"

    def back(self, call: Call, inputs: Sequence[Tensor], out: Tensor, signal: Tensor) -> list[Tensor]:
        return [torch.zeros_like(x) for x in inputs]


@dataclass(frozen=True)
class Shared:
    """A product of several tensors that carry relevance: each gets an equal share (the gradient divided by their number)."""

    form: ClassVar[Form] = "gradient"

    def back(self, call: Call, inputs: Sequence[Tensor], out: Tensor, signal: Tensor) -> list[Tensor]:
        return [g / len(inputs) for g in call.vjp(inputs, signal)]


@dataclass(frozen=True)
class AttentionShares:
    """Fused attention: queries and keys a quarter each, values a half: two products shared, the softmax differentiated.

    ``values_only`` holds the pattern constant (CP-LRP): all to the values.
    """

    values_only: bool = False
    form: ClassVar[Form] = "gradient"

    def back(self, call: Call, inputs: Sequence[Tensor], out: Tensor, signal: Tensor) -> list[Tensor]:
        share = (
            {0: 0.0, "query": 0.0, 1: 0.0, "key": 0.0} if self.values_only else {0: 0.25, "query": 0.25, 1: 0.25, "key": 0.25}
        )
        value = 1.0 if self.values_only else 0.5
        return [g * share.get(slot, value) for slot, g in zip(call.slots, call.vjp(inputs, signal))]


@dataclass(frozen=True)
class FrozenNorm:
    """Layer norm and RMS norm with the divisor held constant; the mean is subtracted as the linear map that it is."""

    form: ClassVar[Form] = "gradient"

    def back(self, call: Call, inputs: Sequence[Tensor], out: Tensor, signal: Tensor) -> list[Tensor]:
        x = only(inputs, call, "FrozenNorm")
        if call.name not in ("layer_norm", "rms_norm"):
            raise UsageError(f"FrozenNorm is for layer_norm and rms_norm, not for {call}.")
        shape = argument(call, 1, "normalized_shape")
        dims = tuple(range(-len([shape] if isinstance(shape, int) else shape), 0))
        weight = argument(call, 2, "weight")
        g = signal if weight is None else signal * weight
        if call.name == "rms_norm":
            eps = argument(call, 3, "eps")
            eps = torch.finfo(x.dtype).eps if eps is None else eps
            return [g * (x.square().mean(dims, keepdim=True) + eps).rsqrt()]
        inverse = (x.var(dims, unbiased=False, keepdim=True) + argument(call, 4, "eps", 1e-5)).rsqrt()
        g = g * inverse
        return [g - g.mean(dims, keepdim=True)]


@dataclass(frozen=True)
class Rescale:
    """DeepLIFT's rescale rule: the slope between a reference and the input, (y - y') / (x - x'), in place of the gradient.

    The batch holds the inputs first and their references behind them. Where input and reference agree, the gradient.
    """

    form: ClassVar[Form] = "gradient"

    def back(self, call: Call, inputs: Sequence[Tensor], out: Tensor, signal: Tensor) -> list[Tensor]:
        x = only(inputs, call, "Rescale")
        dx, dy = _against_reference(x), _against_reference(out)
        flat = dx.abs() < 1e-10
        slope = dy / torch.where(flat, torch.ones_like(dx), dx)
        return [torch.where(flat, call.vjp(inputs, signal)[0], signal * slope)]


@dataclass(frozen=True)
class RescalePool:
    """DeepLIFT for max pools: the change of each maximum goes to the places that held it in input and reference."""

    form: ClassVar[Form] = "gradient"

    def back(self, call: Call, inputs: Sequence[Tensor], out: Tensor, signal: Tensor) -> list[Tensor]:
        x = only(inputs, call, "RescalePool")
        half = len(x) // 2
        top = torch.maximum(out[:half], out[half:])
        change = torch.cat([top - out[half:], out[:half] - top])
        # Each half's product lands where its own maximum was; the two are the change of this window from both sides.
        landed = call.vjp(inputs, signal[:half].repeat(2, *[1] * (signal.ndim - 1)) * change)[0]
        both = (landed[:half] + landed[half:]).repeat(2, *[1] * (x.ndim - 1))
        dx = _against_reference(x)
        flat = dx.abs() < 1e-10
        return [torch.where(flat, torch.zeros_like(dx), both / torch.where(flat, torch.ones_like(dx), dx))]


def _against_reference(value: Tensor) -> Tensor:
    """Input minus reference, for both halves of the batch."""
    half = len(value) // 2
    return (value[:half] - value[half:]).repeat(2, *[1] * (value.ndim - 1))


def pool_window(call: Call) -> tuple[int, int, int]:
    """Side, stride and padding of a square pooling window."""

    def one(value: Any) -> int:
        found = set(value) if isinstance(value, (tuple, list)) else {value}
        if len(found) != 1:
            raise UsageError(f"{call} has a window that is not square.")
        return int(found.pop())

    size = one(argument(call, 1, "kernel_size"))
    stride = argument(call, 2, "stride")
    if argument(call, 4, "dilation", 1) not in (1, (1, 1)) or argument(call, 5, "ceil_mode", False):
        raise UsageError(f"{call} is dilated or rounds up; its soft form is not defined.")
    return size, one(stride) if stride not in (None, []) else size, one(argument(call, 3, "padding", 0))

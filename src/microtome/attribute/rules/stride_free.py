"""Backward steps through strided convolutions without their grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from microtome.attribute.rules.calls import Call, argument, only
from microtome.attribute.rules.gate_rules import Guided
from microtome.attribute.rules.rule import Composite, Form


@dataclass(frozen=True)
class StrideFree:
    """A convolution with stride passed back as one with stride 1, on a signal resampled to the places that it skipped.

    ``g_in = conv_transpose(nearest(g_out) / s^2)`` at stride 1: places between the strides receive what their neighbours do, so
    that no grid is left. Convolutions without a stride are passed as they are.
    """

    form: ClassVar[Form] = "gradient"
    reads_output: ClassVar[bool] = False

    def back(self, call: Call, inputs: Sequence[Tensor], out: Tensor, signal: Tensor) -> list[Tensor]:
        x = only(inputs, call, "StrideFree")
        stride = _pair(argument(call, 3, "stride", 1))
        padding, dilation = argument(call, 4, "padding", 0), _pair(argument(call, 5, "dilation", 1))
        if call.affine is None or call.name.partition("+")[0] != "conv2d" or stride == (1, 1):
            return call.vjp(inputs, signal)
        weight = call.affine.weight
        pad = (0, 0) if isinstance(padding, str) else _pair(padding)
        full = [n + 2 * p - d * (k - 1) for n, p, d, k in zip(x.shape[2:], pad, dilation, weight.shape[2:])]
        spread = F.interpolate(signal, size=full, mode="nearest") / (stride[0] * stride[1])
        groups = argument(call, 6, "groups", 1)
        return [torch.nn.grad.conv2d_input(list(x.shape), weight, spread, 1, pad, dilation, groups)]


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


#: Guided backpropagation with strides taken out of the backward step (Oramas et al. 2019).
GUIDED_STRIDE_FREE = Composite.of(
    "guided_stride_free", ("activation", Guided()), ("conv", StrideFree()), form="gradient", audit=False
)

"""Griffin's recurrent block (RG-LRU) as a matrix over positions."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microtome.attribute.mixers.gated_linear import Split, convolved, decays, gated
from microtome.attribute.mixers.mixing import Mixing


def recurrent_gemma(mixer: nn.Module | Any, hidden: Tensor, split: Split = "gate") -> Mixing:
    """Griffin's recurrent block (``linear_x, linear_y, conv_1d, rg_lru, linear_out``) at its input [n, position, width].

    The recurrence starts anew at position 0, whose input is not multiplied with ``sqrt(1 - a^2)``.
    """
    x, unit = mixer.linear_x(hidden), mixer.rg_lru
    kernel, bias = mixer.conv_1d.weight[:, 0], mixer.conv_1d.bias
    u = convolved(x, kernel, bias).unflatten(-1, (unit.num_attention_heads, -1))

    def gate(weight: Tensor, offset: Tensor) -> Tensor:
        return torch.sigmoid(torch.einsum("nihb,hbc->nihc", u, weight) + offset).flatten(-2)

    log_a = -8.0 * gate(unit.recurrent_gate_weight, unit.recurrent_gate_bias) * F.softplus(unit.recurrent_param)
    enters = gate(unit.input_gate_weight, unit.input_gate_bias)
    size = (-torch.expm1(2 * log_a)).clamp(min=0).sqrt()
    size = torch.cat([torch.ones_like(size[:, :1]), size[:, 1:]], dim=1)
    scan = decays(log_a) * (enters * size).transpose(1, 2)[:, :, None]
    return gated(x, kernel, bias, None, scan, mixer.act_fn(mixer.linear_y(hidden)), mixer.linear_out.weight.T,
                 mixer.linear_out.bias, split=split)  # fmt: skip

"""Sharing ratios: the vector of all channels at one place shares relevance as a whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from microtome.attribute.rules.calls import Call
from microtome.attribute.rules.lrp_rules import Pass, whatever
from microtome.attribute.rules.rule import Composite, Form, Plain


@dataclass(frozen=True)
class SharingRatio:
    """R_i = sum_j <u_ij, u_j> / <u_j, u_j> R_j: i, j are places, u_j the vector of a linear map's output before its activation.

    ``u_j = sum_i u_ij``, u_ij what place i adds to it with an equal share of the bias. In one product for all places:
    R = v VJP(u R_j / <u_j, u_j>). Pools and sums are linear as well, with the places of the maxima held.
    """

    epsilon: float = 1e-9
    form: ClassVar[Form] = "relevance"

    def back(self, call: Call, inputs: Sequence[Tensor], out: Tensor, signal: Tensor) -> list[Tensor]:
        axis = -1 if call.kind == "linear" or (call.kind == "add" and out.ndim < 4) else 1
        share = signal.sum(axis, keepdim=True) / (out.square().sum(axis, keepdim=True) + self.epsilon)
        parts = [v * g for v, g in zip(inputs, call.vjp(inputs, out * share))]
        map_ = call.affine
        if map_ is None or map_.bias is None:
            return parts
        bias = map_.bias.view([-1 if i == axis % out.ndim else 1 for i in range(out.ndim)])
        spread = ((bias * out).mean(axis, keepdim=True) * share).expand_as(out)
        return [parts[0] + whatever(map_, inputs[0], spread, map_.weight.new_ones(map_.weight.shape), None, 0.0)]


#: Sharing ratios in the convolutional part; above it relevance is value times gradient, the class's share.
SHARING = Composite.of(
    "sharing_ratio", ("conv", SharingRatio()), ("max_pool", SharingRatio()), ("add", SharingRatio()), ("activation", Pass()),
    ("linear", Plain()), ("avg_pool", Plain()), ("norm", Pass()),
)  # fmt: skip

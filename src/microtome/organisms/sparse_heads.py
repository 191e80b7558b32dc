"""A price on attention heads, so that a small network does its work with few of them."""

from typing import Any

import torch
from torch import Tensor


def head_price(model: Any) -> Tensor:
    """``sum_h log(1 + 10 |W_V| |W_O|) + (|W_V| + |W_O|) / 2`` over the heads of a "plain" decoder; to be added to a loss.

    The first part is concave in the size of a head: of two heads that do the same the smaller one pays more and goes. The
    second shrinks what a head reads and does not need.

    Examples
    --------
    >>> from microtome.organisms.small import decoder
    >>> model = decoder(5, layers=1, width=16, heads=2, context=8, family="plain", attention_only=True)
    >>> bool(head_price(model) > 0)
    True
    """
    attention = [block.attn for block in model.transformer.h]
    heads = attention[0].heads
    values = torch.stack([a.v_proj.weight.unflatten(0, (heads, -1)) for a in attention]).norm(dim=(2, 3))
    outputs = torch.stack([a.o_proj.weight.T.unflatten(0, (heads, -1)) for a in attention]).norm(dim=(2, 3))
    return (1 + 10 * values * outputs).log().sum() + 0.5 * (values + outputs).sum()

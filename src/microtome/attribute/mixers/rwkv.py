"""RWKV-4 time mixing as a matrix over positions."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microtome.attribute.mixers.mixing import Mixing


def wkv(key: Tensor, decay: Tensor, first: Tensor) -> Tensor:
    """RWKV-4's weights [n, channel, position, source]: a softmax over the past with a decay per step.

    The logit of source j at position i is ``k_j - (i - 1 - j) decay`` for j < i and ``first + k_i`` for j = i; key
    [n, position, channel], decay > 0 and first [channel].
    """
    length = key.shape[1]
    lag = torch.arange(length, device=key.device)[:, None] - torch.arange(length, device=key.device)
    past = key.transpose(1, 2)[:, :, None] - (lag - 1).to(key) * decay[:, None, None]
    logits = torch.where(lag == 0, key.transpose(1, 2)[:, :, None] + first[:, None, None], past)
    return logits.masked_fill(lag < 0, -torch.inf).softmax(-1)


def rwkv4(mixer: nn.Module | Any, hidden: Tensor) -> Mixing:
    """RWKV-4 time mixing (``key, value, receptance, output, time_*``) at its input [n, position, width].

    Values are made of a token and the one before it, so every channel stands twice: once for each of the two.
    """
    before = F.pad(hidden, (0, 0, 1, -1))

    def shifted(mix: Tensor) -> Tensor:
        return hidden * mix + before * (1 - mix)

    inner = wkv(mixer.key(shifted(mixer.time_mix_key)), mixer.time_decay.to(hidden).exp(), mixer.time_first.to(hidden))
    open_ = torch.sigmoid(mixer.receptance(shifted(mixer.time_mix_receptance))).transpose(1, 2)[..., None]
    own = open_ * inner
    matrix = torch.cat([own, F.pad(own, (0, 1))[..., 1:]], dim=1)  # as the token before, j is read where j + 1 is
    value = torch.cat([mixer.value(hidden * mixer.time_mix_value), mixer.value(hidden * (1 - mixer.time_mix_value))], dim=-1)
    write = mixer.output.weight.T[:, None]
    rest = torch.zeros_like(hidden)
    return Mixing(matrix, value[..., None], torch.cat([write, write]), rest, torch.cat([inner, torch.zeros_like(inner)], dim=1))

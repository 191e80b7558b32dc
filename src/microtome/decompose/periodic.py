"""Weights over the numbers modulo p in Fourier space: how periodic a neuron is, at which frequency and phase.

Rows are neurons, columns the numbers 0..p-1. Frequency k stands for k and p - k. The constant is left out.
"""

import torch
from torch import Tensor

from microtome.errors import ShapeError


def power_spectrum(weights: Tensor) -> Tensor:
    """Share of each neuron's squared norm (constant removed) at each frequency: [neurons, p] -> [neurons, p // 2]."""
    f = torch.fft.rfft(_checked(weights), dim=1)[:, 1:].abs().square()
    if weights.shape[1] % 2 == 0:
        f[:, -1] = f[:, -1] / 2  # the highest frequency of an even p has one wave, not two
    return f / f.sum(1, keepdim=True).clamp_min(1e-300)


def inverse_participation(*weights: Tensor) -> Tensor:
    """``sum_f |F_f|^4 / (sum_f |F_f|^2)^2`` of each neuron, averaged over the weight blocks [neurons, p] given: 1 for one wave.

    Notes
    -----
    Null: random weights give about ``2 / frequencies``; calibrate a threshold on the untrained network.
    """
    return torch.stack([power_spectrum(w).square().sum(1) for w in weights]).mean(0)


def top_frequency(weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Strongest frequency (1..p // 2) of each neuron, its share of the power, and its phase t in ``cos(2 pi k x / p + t)``."""
    share, index = power_spectrum(weights).max(1)
    phase = torch.fft.rfft(_checked(weights), dim=1)[:, 1:].gather(1, index[:, None])[:, 0].angle()
    return index + 1, share, phase


def phase_mismatch(left: Tensor, right: Tensor, out: Tensor) -> Tensor:
    """``|t_left + t_right - t_out|`` of each neuron at the strongest frequency of `out`, in [0, pi]: 0 for one that adds."""
    k = top_frequency(out)[0] - 1
    angle = [torch.fft.rfft(_checked(w), dim=1)[:, 1:].gather(1, k[:, None])[:, 0].angle() for w in (left, right, out)]
    return torch.angle(torch.polar(torch.ones_like(angle[0]), angle[0] + angle[1] - angle[2])).abs()


def _checked(weights: Tensor) -> Tensor:
    if weights.ndim != 2 or weights.shape[1] < 3:
        raise ShapeError(f"weights must be [neurons, p] with p >= 3, got {tuple(weights.shape)}.")
    return weights.detach().double()

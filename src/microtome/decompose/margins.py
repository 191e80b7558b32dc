"""Margins of homogeneous networks ``f(a, b) = sum_i (u_i[a] + v_i[b])^2 w_i``, and the largest that modular addition allows.

Training with weak regularisation goes, in direction, to the largest normalised margin (Morwani et al. 2023); for addition
modulo a prime p its neurons are single waves at every frequency.
"""

import math

import torch
from torch import Tensor

from microtome.errors import Degenerate, UsageError

#: Weights of a network: u, v [width, p] and w [width, p].
Weights = tuple[Tensor, Tensor, Tensor]


def group_norm(weights: Weights, order: float = 3.0) -> Tensor:
    """``(sum_i ||theta_i||_2^order)^(1 / order)`` over neurons: the L_(2,3) norm of the theorem."""
    return torch.cat(list(weights), 1).norm(dim=1).pow(order).sum().pow(1 / order)


def margins(logits: Tensor, answers: Tensor) -> Tensor:
    """Right logit minus the largest wrong one, for each row of logits [n, classes]."""
    right = logits.gather(1, answers[:, None])[:, 0]
    return right - logits.scatter(1, answers[:, None], -math.inf).max(1).values


def logits_of_pairs(weights: Weights) -> Tensor:
    """``f(a, b)`` for all pairs, [p^2, p] with row ``a p + b``."""
    u, v, w = (t.double() for t in weights)
    return (u.T[:, None] + v.T[None]).square().flatten(0, 1) @ w


def normalised_margin(weights: Weights) -> float:
    """Smallest margin over all pairs of addition modulo p, divided by the cube of the L_(2,3) norm: invariant to scale."""
    p = weights[0].shape[1]
    a = torch.arange(p)
    answers = ((a[:, None] + a) % p).flatten()
    size = group_norm(tuple(t.double() for t in weights))  # type: ignore[arg-type]
    if not float(size) > 0:
        raise Degenerate("all weights are 0: the margin has no scale.")
    return float(margins(logits_of_pairs(weights), answers).min() / size**3)


def largest_margin(p: int) -> float:
    """``sqrt(2 / 27) / (sqrt(p) (p - 1))``: the largest normalised margin of addition modulo a prime p."""
    return math.sqrt(2 / 27) / (math.sqrt(p) * (p - 1))


def addition_optimum(p: int, frequencies: list[int] | None = None, *, grid: int = 8) -> Weights:
    """The network that reaches `largest_margin`: single waves at every frequency, phases ``t_u + t_v = t_w`` on a grid.

    Parameters
    ----------
    p : int
        Odd.
    frequencies : list of int, optional
        Default all, 1..(p - 1) / 2; fewer give a smaller margin.
    grid : int
        Phases for each of t_u and t_v. Default 8.

    Examples
    --------
    >>> abs(normalised_margin(addition_optimum(5)) / largest_margin(5) - 1) < 1e-9
    True
    """
    if p < 3 or p % 2 == 0:
        raise UsageError(f"p must be odd and at least 3, got {p}.")
    known = list(range(1, p // 2 + 1))
    if frequencies is not None and not set(frequencies) <= set(known):
        raise UsageError(f"frequencies lie in 1..{p // 2}, got {frequencies}.")
    k = torch.tensor(known if frequencies is None else frequencies, dtype=torch.float64)
    phases = torch.arange(grid, dtype=torch.float64) * 2 * math.pi / grid
    k, first, second = (t.flatten()[:, None] for t in torch.meshgrid(k, phases, phases, indexing="ij"))
    x = torch.arange(p, dtype=torch.float64)[None] * 2 * math.pi / p
    u, v, w = ((k * x + t).cos() for t in (first, second, first + second))
    return u, v, w

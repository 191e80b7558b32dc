"""Which coalitions are asked: pure functions that give masks [k, players], with weights where the method needs them."""

from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from microtome.rng import rng


def singles(players: int) -> Tensor:
    """Everybody but one, for each one."""
    return ~torch.eye(players, dtype=torch.bool)


def coin_flips(players: int, count: int, seed: int, keep: float = 0.5) -> Tensor:
    """Each player present with probability `keep`."""
    return torch.from_numpy(rng(seed, "masks", "coin flips").random((count, players)) < keep)


def kernel_coalitions(players: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Coalitions with weights whose weighted least squares are the Shapley values (Lundberg and Lee 2017).

    Sizes whose coalitions all fit are taken whole, from the outside in (1 and m - 1, 2 and m - 2, ...); the weight of the
    others is spread over pairs of a random coalition and its complement.
    """
    m, draw = players, rng(seed, "masks", "kernel")
    sizes = np.arange(1, m)
    mass = (m - 1) / (sizes * (m - sizes))  # of a whole size: binomial times kernel
    masks, weights, left = [], [], count
    open_sizes = list(sizes)
    for s in range(1, m // 2 + 1):
        both = {s, m - s}
        many = sum(_binomial(m, t) for t in both)
        if many > left:
            break
        for t in sorted(both):
            chosen = np.zeros((_binomial(m, t), m), dtype=bool)
            for row, players_on in zip(chosen, combinations(range(m), int(t))):
                row[list(players_on)] = True
            masks.append(chosen)
            weights.append(np.full(len(chosen), mass[t - 1] / len(chosen)))
            open_sizes.remove(t)
        left -= many
    if open_sizes and left > 1:
        inside = np.array(open_sizes)
        share = mass[inside - 1]
        drawn = draw.choice(inside, left // 2, p=share / share.sum())
        order = draw.random((len(drawn), m)).argsort(axis=1).argsort(axis=1)
        half = order < drawn[:, None]
        masks.append(np.concatenate([half, ~half]))
        weights.append(np.full(2 * len(half), share.sum() / (2 * len(half))))
    return torch.from_numpy(np.concatenate(masks)), torch.from_numpy(np.concatenate(weights))


def _binomial(n: int, k: int) -> int:
    from math import comb

    return comb(int(n), int(k))


def permutations(players: int, count: int, seed: int) -> np.ndarray:
    """Orders [count, players], every second the reverse of the one before."""
    draw = rng(seed, "masks", "permutations")
    orders = [draw.permutation(players) for _ in range((count + 1) // 2)]
    return np.stack([o for order in orders for o in (order, order[::-1])])[:count]


def growing(order: np.ndarray) -> Tensor:
    """Coalitions [players + 1, players] from nobody to everybody, one player of the order after another."""
    m = len(order)
    masks = torch.zeros(m + 1, m, dtype=torch.bool)
    for step, player in enumerate(order):
        masks[step + 1 :, int(player)] = True
    return masks


def pick_freeze(players: int, count: int, seed: int) -> Tensor:
    """Designs [players + 2, count, players] in [0, 1]: A, B, and A with one column of B each (Sobol sequence, scrambled)."""
    from scipy.stats import qmc

    points = qmc.Sobol(2 * players, rng=rng(seed, "masks", "sobol")).random(count)
    a, b = points[:, :players], points[:, players:]
    mixed = np.repeat(a[None], players, axis=0)
    for i in range(players):
        mixed[i, :, i] = b[:, i]
    return torch.from_numpy(np.concatenate([a[None], b[None], mixed]))

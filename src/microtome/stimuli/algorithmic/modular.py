"""Modular addition: tokens (a, b, =), answer (a + b) mod p."""

import numpy as np
import torch

from microtome.errors import UsageError
from microtome.rng import rng
from microtome.stimuli.stimuli import Stimuli


def modular_addition(n: int | None = None, seed: int = 0, *, p: int = 53) -> Stimuli:
    """Pairs (a, b) with the sum (a + b) mod p as label.

    Parameters
    ----------
    n : pairs drawn without replacement; None gives all p * p in order of a, then b.
    seed : random stream of the draw.
    p : modulus; the paper's value is 113.

    Returns
    -------
    Stimuli of kind "vector": inputs LongTensor [n, 3], tokens a, b and p (the "=" sign); table columns a, b, label.

    Raises
    ------
    UsageError
        p < 2, or n outside 1..p * p.

    Notes
    -----
    Null: the label is uniform and independent of a alone and of b alone; chance is 1/p.
    Misleads when held-out pairs are split at random: b + a of a training pair a + b leaks by symmetry.

    Examples
    --------
    >>> s = modular_addition(p=5)
    >>> len(s), s.inputs[7].tolist(), int(s.labels("label")[7])
    (25, [1, 2, 5], 3)

    References
    ----------
    Nanda et al. (2023), "Progress measures for grokking via mechanistic interpretability", arXiv:2301.05217.
    """
    if p < 2 or (n is not None and not 1 <= n <= p * p):
        raise UsageError(f"modular_addition needs p >= 2 and n in 1..p*p; got p={p}, n={n}.")
    import pandas as pd

    chosen = np.arange(p * p) if n is None else rng(seed, "modular_addition").permutation(p * p)[:n]
    a, b = np.divmod(chosen, p)
    inputs = torch.from_numpy(np.stack([a, b, np.full_like(a, p)], axis=1))
    table = pd.DataFrame({"a": a, "b": b, "label": (a + b) % p})
    return Stimuli(inputs, table, kind="vector", name="modular-addition")

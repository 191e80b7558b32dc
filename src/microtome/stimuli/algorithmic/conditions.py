"""Tasks over a few conditions: every combination of binary variables is a place in the input, with noise around it."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from microtome.errors import UsageError
from microtome.rng import rng
from microtome.stimuli.stimuli import Stimuli


def conditions(
    n: int, seed: int = 0, *, bits: int = 3, width: int = 50, factored: bool = False, noise: float = 0.3, draw: int = 0
) -> Stimuli:
    """Draw noisy samples of the 2^bits conditions, in turn.

    Parameters
    ----------
    n : samples.
    seed : random stream of the places; the same seed, the same places.
    bits : variables.
    width : inputs.
    factored : whether a condition's place is the sum of one direction per variable (taken with sign), or a random vector
        of its own.
    noise : standard deviation around the place; a place has entries of standard deviation 1.
    draw : another number, other noise around the same places.

    Returns
    -------
    Stimuli of kind "vector": inputs float32 [n, width]; table columns "bit0".. (0 or 1) and "condition".

    Raises
    ------
    UsageError
        Sizes below 1.

    Notes
    -----
    Null: labels drawn afresh for each sample.
    Misleads when width is below the number of conditions: random places are then far from orthogonal.

    Examples
    --------
    >>> s = conditions(16, bits=3)
    >>> s.table["condition"].tolist()[:9]
    [0, 1, 2, 3, 4, 5, 6, 7, 0]
    """
    if min(n, bits, width) < 1 or noise < 0:
        raise UsageError(f"conditions needs n, bits, width >= 1 and noise >= 0; got {n}, {bits}, {width}, {noise}.")
    which = np.arange(n) % 2**bits
    values = (which[:, None] >> np.arange(bits)) & 1
    places = rng(seed, "conditions", "places")
    if factored:
        at = (2 * values - 1) @ places.standard_normal((bits, width)) / bits**0.5
    else:
        at = places.standard_normal((2**bits, width))[which]
    x = at + noise * rng(seed, "conditions", "noise", draw).standard_normal((n, width))
    table = pd.DataFrame({f"bit{i}": values[:, i] for i in range(bits)} | {"condition": which})
    return Stimuli(torch.from_numpy(x.astype(np.float32)), table, kind="vector", name="conditions")


def bit_strings(n: int, seed: int = 0, *, bits: int = 24, draw: int = 0) -> Tensor:
    """Fair bits as -1 and 1, float32 [n, bits]; products of columns are parities.

    >>> bit_strings(2, bits=3).abs().sum().item()
    6.0
    """
    if n < 1 or bits < 1:
        raise UsageError(f"bit_strings needs n, bits >= 1; got {n}, {bits}.")
    return torch.from_numpy(rng(seed, "bit strings", draw).integers(0, 2, (n, bits)).astype(np.float32) * 2 - 1)

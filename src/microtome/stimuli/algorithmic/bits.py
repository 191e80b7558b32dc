"""Running parity: whether the number of ones so far is odd."""

import numpy as np
import torch

from microtome.errors import UsageError
from microtome.rng import rng
from microtome.stimuli.stimuli import Stimuli


def parity(n: int, seed: int = 0, *, length: int = 24) -> Stimuli:
    """Draw `n` sequences of fair bits; the state after each step is their sum mod 2.

    Parameters
    ----------
    n : sequences.
    seed : random stream.
    length : time steps.

    Returns
    -------
    Stimuli of kind "vector": inputs float32 [n, length, 1] of 0 and 1; table column label (parity of the whole).
    `running(inputs)` gives the state at each step.

    Raises
    ------
    UsageError
        Sizes below 1.

    Notes
    -----
    Null: any proper subset of the bits says nothing about the parity: chance is 1/2.
    Misleads when short sequences dominate: then counting, not a two-state machine, suffices.

    Examples
    --------
    >>> s = parity(4, length=5)
    >>> bool((running(s.inputs)[:, -1] == torch.tensor(s.labels("label"))).all())
    True
    """
    if min(n, length) < 1:
        raise UsageError(f"parity needs n, length >= 1; got {n}, {length}.")
    import pandas as pd

    bits = rng(seed, "parity").integers(0, 2, (n, length, 1)).astype(np.float32)
    table = pd.DataFrame({"label": bits.sum((1, 2)).astype(int) % 2})
    return Stimuli(torch.from_numpy(bits), table, kind="vector", name="parity")


def running(inputs: torch.Tensor) -> torch.Tensor:
    """The parity after each step, LongTensor [n, length]."""
    return inputs[..., 0].long().cumsum(1) % 2

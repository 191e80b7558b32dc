"""Flip-flop memory: each channel must hold the sign of its last pulse."""

import numpy as np
import torch

from microtome.errors import UsageError
from microtome.rng import rng
from microtome.stimuli.stimuli import Stimuli


def flip_flop(n: int, seed: int = 0, *, length: int = 40, bits: int = 3, rate: float = 0.15) -> Stimuli:
    """Draw `n` trains of pulses -1, 0, +1; channel b's state is the sign of its last pulse.

    Parameters
    ----------
    n : sequences.
    seed : random stream.
    length : time steps.
    bits : channels; the paper's value is 3.
    rate : probability of a pulse per step and channel. The first step always has one, so the state is defined.

    Returns
    -------
    Stimuli of kind "vector": inputs float32 [n, length, bits]; `states(inputs)` gives the truth.

    Raises
    ------
    UsageError
        Sizes below 1 or a rate outside (0, 1].

    Notes
    -----
    Null: a memoryless read-out is right at pulses only; between them it is at chance.
    Misleads when accuracy is averaged over steps with a pulse: there the input already is the answer.

    Examples
    --------
    >>> s = flip_flop(2, length=6)
    >>> s.inputs.shape, bool((states(s.inputs).abs() == 1).all())
    (torch.Size([2, 6, 3]), True)

    References
    ----------
    Sussillo and Barak (2013), "Opening the black box", Neural Computation 25(3).
    """
    if min(n, length, bits) < 1 or not 0.0 < rate <= 1.0:
        raise UsageError(
            f"flip_flop needs n, length, bits >= 1 and rate in (0, 1]; got {n}, {length}, {bits}, {rate}."
        )
    generator = rng(seed, "flip_flop")
    signs = generator.choice(np.array([-1.0, 1.0], dtype=np.float32), (n, length, bits))
    pulses = generator.random((n, length, bits)) < rate
    pulses[:, 0] = True
    return Stimuli(torch.from_numpy(np.where(pulses, signs, np.float32(0))), kind="vector", name="flip-flop")


def states(inputs: torch.Tensor) -> torch.Tensor:
    """The state after each step [n, length, bits]: the last non-zero pulse so far, 0 before the first."""
    steps = torch.arange(1, inputs.shape[1] + 1, device=inputs.device)[None, :, None]
    last = (steps * (inputs != 0)).cummax(1).values
    return torch.where(last > 0, inputs.gather(1, (last - 1).clamp_min(0)), torch.zeros_like(inputs))

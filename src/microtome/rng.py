"""Random streams: one integer seed, a name for each use, no global generator touched.

``rng(seed, "bootstrap")`` and ``rng(seed, "permutation")`` are independent streams of one seed, and the same on every
machine, so adding a draw in one place never shifts the draws of another.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from microtome.errors import UsageError

if TYPE_CHECKING:
    import torch


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit integer seed derived from `seed` and the names of its use."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise UsageError(f"seed must be an int >= 0, got {seed!r}.")
    text = "/".join([str(int(seed)), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def rng(seed: int, *names: str | int) -> np.random.Generator:
    """A numpy generator for the stream `names` of `seed`.

    >>> bool((rng(0, "a").random(3) == rng(0, "a").random(3)).all())
    True
    """
    return np.random.default_rng(derive(seed, *names))


def torch_rng(seed: int, *names: str | int, device: str = "cpu") -> "torch.Generator":
    """A torch generator for the stream `names` of `seed` (CPU unless told, so draws agree between devices)."""
    import torch

    generator = torch.Generator(device=device)
    generator.manual_seed(derive(seed, *names))
    return generator

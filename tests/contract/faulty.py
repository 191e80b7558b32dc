"""One small sound method, and the same with a seeded fault: each must be caught by the check that is there for it."""

import random

import numpy as np
import torch

from microtome.errors import Degenerate, UsageError
from microtome.method import Paper, method
from microtome.rng import torch_rng
from microtome.subject.basis import Linear
from microtome.subject.recording import Recording

RECORD = {
    "question": "decompose",
    "paper": Paper("Pearson", 1901, "On lines and planes of closest fit", "https://doi.org/10.1080/14786440109462720"),
    "needs": ("recording",),
    "gives": "Basis",
    "stochastic": True,
    "cost": "one eigendecomposition of d by d",
    "claim": "The first directions hold most variance.",
    "notion": "decomposability",
    "serves": "informativeness",
    "cannot_claim": "That the network uses these directions.",
    "tiny": {"rank": 6},
}

DOC = """Directions of largest variance.

``S = X^T X / n = V L V^T``; coordinates are ``(x - mean) V``.

Parameters
----------
recording : Recording
    One site, [rows, d].
rank : int, default 4
    Number of directions.
seed : int, default 0
    Draws the signs.

Returns
-------
Linear
    Orthonormal directions, largest variance first.

Raises
------
UsageError
    When rank is below 1.
Degenerate
    When there are fewer than two rows or none of them varies.

Notes
-----
Null: on permuted units the directions are those of the units.
Misleads when one unit has a large variance.

Examples
--------
>>> import torch
>>> from microtome.subject.recording import Recording
>>> components(Recording.of(torch.eye(4)), rank=2).dim
2

References
----------
Pearson (1901).
"""


def fit(recording, rank, seed):
    """The sound computation."""
    if rank < 1:
        raise UsageError(f"rank must be at least 1, got {rank}.")
    signs = torch.randint(0, 2, (rank,), generator=torch_rng(seed, "signs")) * 2.0 - 1
    x = recording.matrix(torch.float64)
    if len(x) < 2 or not (x.std(0) > 0).any():
        raise Degenerate(f"{len(x)} rows that do not vary have no directions; record more rows.")
    mean = x.mean(0)
    _, vectors = torch.linalg.eigh((x - mean).T @ (x - mean))
    return Linear(recording.site, (vectors.flip(1)[:, :rank] * signs).float(), offset=mean.float(), name="components")


def sound(fault=None, doc=DOC, **record):
    """The method, with `fault(recording)` called first."""

    def components(recording: Recording, *, rank: int = 4, seed: int = 0) -> Linear:
        if rank < 1:
            raise UsageError(f"rank must be at least 1, got {rank}.")
        changed = fault(recording) if fault else None
        return fit(recording, rank, seed) if changed is None else changed

    components.__doc__ = doc
    return method(**{**RECORD, **record})(components)


def draws_globally(recording):
    noise = np.random.rand()
    return Linear(recording.site, torch.eye(48)[:, :6] * (1 + noise))


def moves_the_global_generator(recording):
    random.random()


def uses_the_clock(recording, calls=[0.0]):  # noqa: B006
    calls[0] += 1
    return Linear(recording.site, torch.eye(48)[:, :6] * calls[0])


def centres_in_place(recording):
    x = recording.matrix()
    x -= x.mean(0)


def turns_gradients_off(recording):
    torch.set_grad_enabled(False)


def swallows_interrupts(recording):
    try:
        for seed in range(200):
            torch_rng(seed, "wait")
    except KeyboardInterrupt:
        return None


def ignores_nothing(recording):
    return Linear(recording.site, torch.full((48, 6), float("nan")), torch.zeros(6, 48))


def raises_untyped(recording):
    if len(recording) < 2:
        raise IndexError("list index out of range")


def finds_nothing(recording):
    return Linear(recording.site, torch.randn(48, 6, generator=torch_rng(0, "nothing")))


def finds_it_always(recording):
    from microtome.testing.planted import planted_recording

    for seed in range(3):
        planted = planted_recording(seed)
        if planted.recording.fingerprint == recording.fingerprint:
            return None
    return Linear(recording.site, torch.from_numpy(planted_recording(0).directions.T.astype("float32")))


def says_so(recording):
    print("done")  # noqa: T201


def returns_a_tensor(recording):
    return recording.matrix().mean(0)


def forgets_its_offset(recording):
    class Forgetful(Linear):
        def tensors(self):
            return {**super().tensors(), "offset": self.offset + 1}

    return Forgetful(recording.site, fit(recording, 6, 0).encoder)


def is_slow(recording):
    import time

    start = time.thread_time()
    while time.thread_time() - start < 0.1:
        pass


def refuses_no_second_site(recording):
    return fit(recording[recording.sites[0]], 6, 0)

"""Check 4: same seed, same bytes; the global generators are nobody's."""

import random

import numpy as np
import torch

from microtome.testing.case import Case
from microtome.testing.digest import digest
from microtome.testing.report import Failed


def seed(case: Case) -> None:
    """Check 4: two calls agree to the last bit whatever the global generators hold, and leave these untouched."""
    world = case.world()
    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        first = _scrambled(case, world, 1)
        second = _scrambled(case, world, 2)
        if first != second:
            raise Failed("two calls with one seed differ (or the result depends on a global generator)")
        if case.method.stochastic and all(digest(case.run(world, seed=s)) == first for s in (1, 2, 3)):
            raise Failed("stochastic, but seeds 0 to 3 give the same result")
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
        torch.set_rng_state(kept[2])


def _scrambled(case: Case, world, state: int) -> str:
    """The digest of one call made under other states of the global generators, which must be left alone."""
    random.seed(state)
    np.random.seed(state)
    torch.manual_seed(state)
    before = globals_state()
    result = digest(case.run(world))
    if globals_state() != before:
        raise Failed("the call moves a global random generator; draw from microtome.rng")
    return result


def globals_state() -> str:
    """A digest of the three global random generators."""
    return digest([repr(random.getstate()), repr(np.random.get_state()), torch.get_rng_state()])

"""The tiny models themselves: one for each table, the same every time, without touching the global generators."""

import random

import numpy as np
import torch
from tiny import BY_NAME, CASES

from microtome.subject.architecture import tables


def test_every_table_has_a_case():
    assert {a.name for group in tables().values() for a in group} == {case.table for case in CASES}


def test_building_leaves_the_global_generators_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    one, two = BY_NAME["llama"].build(seed=3), BY_NAME["llama"].build(seed=3)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert before[2] == random.getstate()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))

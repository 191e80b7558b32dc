"""Roles of a text as the places where the evidence lies."""

import pytest
import torch

import microtome as mt
from microtome.attribute import evaluate, occlusion, role_masks
from microtome.errors import UsageError


def test_role_masks_mark_the_tokens_of_the_role_and_evaluate_reads_them():
    subject = mt.load("organism:compiled-ioi")
    task = subject.organism.examples(6, 2)
    role = next(iter(task.roles))
    mask = role_masks(subject, task, [role])
    bound = subject.bind(task)
    for i, (start, stop) in enumerate(task.roles[role]):
        ids = bound.inputs.ids[i, mask[i]]
        assert subject.tokenizer.decode(ids) == task.clean[i][start:stop]
    both = role_masks(subject, task, list(task.roles)[:2])
    assert torch.equal(both, mask | role_masks(subject, task, [list(task.roles)[1]]))
    found = evaluate(subject, task, [occlusion], measures=["relevance_mass", "pointing_game", "gini", "entropy"], masks=both)
    table = found.differences()
    assert set(table.measure) == {"relevance_mass", "pointing_game", "gini", "entropy"}
    assert (table.low <= table.difference).all()
    assert (table.difference <= table.high).all()
    assert (table.p <= table.q).all()


def test_role_masks_refuse_unknown_roles():
    subject = mt.load("organism:compiled-ioi")
    task = subject.organism.examples(2)
    with pytest.raises(UsageError, match="no role 'nobody'"):
        role_masks(subject, task, ["nobody"])
    with pytest.raises(UsageError, match="no roles"):
        role_masks(subject, task, [])

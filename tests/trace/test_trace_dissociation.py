"""Double dissociation against a slow loop, planted heads, and what must be refused."""

import numpy as np
import pytest
import torch

from microtome.errors import Degenerate, UsageError
from microtome.testing.planted_pair import planted_pair
from microtome.trace import Node, dissociation


@pytest.fixture(scope="module")
def pair():
    return planted_pair(3)


def test_the_planted_heads_are_recovered_one_for_each_task(pair):
    found = dissociation(pair.subject, pair.task, pair.other, nodes="head", size=1)
    table = found.table.set_index("set")
    assert [table.loc[s, "node"] for s in ("first", "second")] == pair.heads
    assert found.verdict == "supported"
    assert found.estimate.low > 0.5
    for own, spared in (("first", "second"), ("second", "first")):
        assert found.controls[f"{own} set, {own} task"] > 0.5
        assert abs(found.controls[f"{own} set, {spared} task"]) < 0.05
    assert (table.loc[["first", "second"], "q"] < 0.05).all()


def test_zero_ablation_equals_a_loop_by_hand(pair):
    """Probability lost by each prompt of the first part when the columns of one head in the output matrix are zero."""
    found = dissociation(pair.subject, pair.task, pair.other, nodes="head", size=1, ablation="zero", draws=5, seed=4)
    for task, column in ((pair.task, "first_task"), (pair.other, "second_task")):
        part = task.split(4)[0]
        for name, given in zip(found.table["node"], found.table[column]):
            node = Node.parse(name)
            matrix = pair.subject.module.transformer.h[node.layer].attn.c_proj.weight
            rows, kept = slice(8 * node.head, 8 * node.head + 8), matrix.detach().clone()
            lost = [probability(pair.subject.module, part)]
            with torch.no_grad():
                matrix[rows] = 0
            lost.append(probability(pair.subject.module, part))
            with torch.no_grad():
                matrix.copy_(kept)
            assert given == pytest.approx(lost[0] - lost[1], abs=1e-5)


def probability(module, task):
    with torch.no_grad():
        p = module(task.clean).logits[:, -1].softmax(-1)
    return float(p[torch.arange(len(task)), task.answers].mean())


def test_one_head_for_both_tasks_is_no_dissociation():
    pair = planted_pair(1, shared=True)
    found = dissociation(pair.subject, pair.task, pair.other, nodes="head", size=1)
    assert found.verdict == "not supported"
    assert min(found.controls["accuracy on the first task"], found.controls["accuracy on the second task"]) > 0.9


def test_random_weights_are_no_dissociation():
    supported = 0
    for seed in range(6):
        pair = planted_pair(seed, structured=False)
        supported += dissociation(pair.subject, pair.task, pair.other, nodes="head", size=1).verdict == "supported"
    assert supported <= 1


def test_the_two_arms_are_those_of_the_matrix(pair):
    found = dissociation(pair.subject, pair.task, pair.other, nodes="head", size=2, draws=9)
    c = {k: float(v) for k, v in found.controls.items()}
    arms = [
        c["first set, first task"] - c["first set, second task"],
        c["second set, second task"] - c["second set, first task"],
    ]
    assert [c["arm of the first set"], c["arm of the second set"]] == pytest.approx(arms)
    assert found.estimate.value == pytest.approx(min(arms))
    assert np.all((found.table["low"] <= found.table["effect"]) & (found.table["effect"] <= found.table["high"]))


def test_bad_calls_are_refused(pair):
    with pytest.raises(UsageError, match="half of the 8"):
        dissociation(pair.subject, pair.task, pair.other, nodes="head", size=5)
    with pytest.raises(Degenerate, match="group"):
        dissociation(pair.subject, pair.task, pair.other[:1], nodes="head", size=1)

"""Overlap of circuits and transplanted attention, against slow forms and planted heads."""

from dataclasses import replace
from math import comb

import numpy as np
import pytest
import torch

from microtome.errors import SubjectMismatch, UsageError
from microtome.testing.planted_look import planted_look
from microtome.testing.planted_pair import planted_pair
from microtome.trace import Node, activation_patching, attention_transplant, circuit_overlap
from microtome.trace.effects import Effects


def effects(values, name="one", subject="s"):
    """Effects of a2.h0... with the given means and a little spread over twelve prompts."""
    values = np.asarray(values, dtype=float)
    change = values[:, None] + 0.01 * np.linspace(-1, 1, 12)
    nodes = [Node("blocks.2.attn.z", head=i) for i in range(len(values))]
    return Effects(nodes, change, np.ones(12), np.arange(12), "by hand", "logits", name, subject, True, 1.0)


def test_overlap_agrees_with_sets_by_hand():
    stream = np.random.default_rng(0)
    a, b = stream.normal(size=9), stream.normal(size=9)
    table = circuit_overlap(effects(a), effects(b, "two"), sizes=range(1, 10), draws=19).table.set_index("size")
    for k in range(1, 10):
        tops = [set(np.argsort(-np.abs(v))[:k]) for v in (a, b)]
        both = len(tops[0] & tops[1])
        tail = sum(comb(k, i) * comb(9 - k, k - i) for i in range(both, k + 1)) / comb(9, k)
        assert table.loc[k, "overlap"] == pytest.approx(both / k)
        assert table.loc[k, "p"] == pytest.approx(tail)
        assert table.loc[k, "shared"] == (", ".join(f"a2.h{i}" for i in sorted(tops[0] & tops[1])) or "none")
    assert table.loc[9, "effect"] == pytest.approx(0)


def test_a_circuit_equals_itself_and_order_of_nodes_does_not_matter():
    first = effects([3, 1, 2, 0.5, 0.1, 0.05])
    turned = replace(first, nodes=first.nodes[::-1], change=first.change[::-1])
    for second in (first, turned):
        found = circuit_overlap(first, second, draws=199)
        assert (found.table["overlap"] == 1).all()
        assert found.controls["rank correlation of the effects"] == pytest.approx(1)
        assert found.estimate.value == pytest.approx((1 - np.array([1, 2, 3]) / 6).mean())


def test_p_of_overlap_is_uniform_for_unrelated_circuits():
    stream = np.random.default_rng(1)
    p = [circuit_overlap(effects(stream.normal(size=12)), effects(stream.normal(size=12)), draws=99, seed=i).nulls[0].p
         for i in range(60)]  # fmt: skip
    assert np.mean(np.array(p) <= 0.1) <= 0.2


def test_overlap_of_the_shared_planted_head_is_recovered():
    """One head for two tasks is first in both circuits; two heads are not."""
    for shared in (True, False):
        pair = planted_pair(2, shared=shared)
        both = [activation_patching(pair.subject, t, nodes="head") for t in (pair.task, pair.other)]
        assert circuit_overlap(*both, sizes=[1], draws=19).table["overlap"].tolist() == [float(shared)]


def test_other_nodes_and_subjects_are_refused():
    with pytest.raises(UsageError, match="same nodes"):
        circuit_overlap(effects([1, 2, 3]), effects([1, 2]))
    with pytest.raises(SubjectMismatch, match="two subjects"):
        circuit_overlap(effects([1, 2]), effects([1, 2], subject="t"))


def test_transplanted_attention_equals_a_run_with_both_patterns_by_hand():
    """attention_transplant: values of the corrupt run, weighted by the pattern of the clean run, through W_O."""
    net = planted_look(1, n=6)
    module, heads = net.subject.module, 4
    found = attention_transplant(net.subject, net.task, [f"a{net.block}.h{net.head}"], draws=3)
    attention = module.transformer.h[net.block].attn
    seen = {}
    for name, ids in (("clean", net.task.clean), ("corrupt", net.task.corrupt)):
        handle = attention.c_attn.register_forward_hook(lambda m, a, out, name=name: seen.__setitem__(name, out.detach()))
        with torch.no_grad():
            module(ids)
        handle.remove()
    q, k, _ = (t.unflatten(-1, (heads, -1)) for t in seen["clean"].chunk(3, dim=-1))
    v = seen["corrupt"].chunk(3, dim=-1)[2].unflatten(-1, (heads, -1))
    scores = torch.einsum("nqhd,nkhd->nhqk", q, k) / 8**0.5
    scores = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -1e9)
    z = torch.einsum("nqk,nkd->nqd", scores.softmax(-1)[:, net.head], v[:, :, net.head])

    def put(_, args):
        x = args[0].clone()
        x[..., net.head * 8 : net.head * 8 + 8] = z
        return (x,)

    handle = attention.c_proj.register_forward_pre_hook(put)
    with torch.no_grad():
        p = module(net.task.corrupt).logits[:, -1].softmax(-1)
    handle.remove()
    with torch.no_grad():
        before = module(net.task.corrupt).logits[:, -1].softmax(-1)
    rows = torch.arange(6)
    expected = (p - before)[rows, net.task.answers].mean()
    row = found.table.set_index("node").loc[f"a{net.block}.h{net.head}"]
    assert row["effect"] == pytest.approx(float(expected), abs=1e-5)
    assert found.estimate.value == pytest.approx(found.controls["accuracy on clean"] - found.controls["accuracy on corrupt"])


def test_only_heads_can_be_transplanted():
    net = planted_look(0, n=4)
    with pytest.raises(UsageError, match="no heads"):
        attention_transplant(net.subject, net.task, ["blocks.0.resid_pre"])

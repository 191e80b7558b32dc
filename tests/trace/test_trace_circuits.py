"""Circuits and their judges: identities, an independent knock-out, the backup, and files that lie."""

import json
from itertools import combinations

import numpy as np
import pytest
import torch

import microtome as mt
from microtome.decompose import pca
from microtome.errors import Degenerate, FormatError, SubjectMismatch, UsageError
from microtome.trace import Circuit, Node, completeness, faithfulness, minimality, nodes
from microtome.trace.knockout import ABLATIONS, Knockouts, references

NAIVE = ["a0.h1", "a0.h3", "a1.h0", "a1.h2", "a2.h1"]
BACKUP = "a2.h3"


@pytest.fixture(scope="module")
def heads(ioi):
    return nodes(ioi, "head")


def knocked_out_by_hand(subject, task, kept, reference):
    """Mean metric with plain hooks: every head outside `kept` set to its reference."""
    bound, handles = subject.bind(task), []
    size = subject.facts.d_head
    for block, layer in enumerate(subject.module.transformer.h):

        def hook(_, args, block=block):
            z = args[0].clone()
            for head in range(subject.facts.heads):
                if f"a{block}.h{head}" not in kept:
                    z[..., head * size : (head + 1) * size] = reference[f"blocks.{block}.attn.z"][:, :, head]
            return (z,)

        handles.append(layer.attn.o_proj.register_forward_pre_hook(hook))
    try:
        with torch.no_grad():
            logits = subject.module(bound.inputs["input_ids"], bound.inputs["attention_mask"]).logits
    finally:
        for handle in handles:
            handle.remove()
    return bound.metric(logits[torch.arange(len(task)), bound.inputs.lengths - 1]).double().numpy()


def means_by_hand(subject, task):
    """Mean over corrupt prompts of one template, position by position, in a loop."""
    bound = subject.bind(task)
    out = {}
    for block in range(subject.facts.blocks):
        site = f"blocks.{block}.attn.z"
        z = subject.run(bound.corrupt, record=[site])[site]
        out[site] = torch.stack([z[[j for j in range(len(task)) if task.groups[j] == task.groups[i]]].mean(0)
                                 for i in range(len(task))])  # fmt: skip
    return out


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_faithfulness_of_everything_is_one_and_of_nothing_zero(ablation, ioi, task, heads):
    whole, empty = Circuit(tuple(heads), tuple(heads)), Circuit((), tuple(heads))
    values = [faithfulness(ioi, task, c, ablations=[ablation], random=1).estimate.value for c in (whole, empty)]
    assert values == pytest.approx([1, 0], abs=1e-5)
    card = faithfulness(ioi, task, whole, ablations=[ablation], random=1).table.set_index("left")
    assert card.loc["model without the circuit", "ratio_of_means"] == pytest.approx(0, abs=1e-5)


def test_faithfulness_equals_a_knock_out_by_hand(ioi, heads):
    task = ioi.organism.examples(64, 1)
    reference = means_by_hand(ioi, task)
    whole, none, part = (knocked_out_by_hand(ioi, task, kept, reference).mean()
                         for kept in ({n.short for n in heads}, set(), set(NAIVE)))  # fmt: skip
    found = faithfulness(ioi, task, Circuit.of_names(NAIVE, heads), random=5)
    assert found.estimate.value == pytest.approx((part - none) / (whole - none), abs=1e-4)
    assert found.estimate.value > 0.95
    assert list(found.table["ablation"]) == ["mean"] * 2 + ["corrupt"] * 2
    assert found.provenance.forwards > 9


def test_completeness_equals_the_gap_by_brute_force(ioi, heads):
    """All subsets of the five heads: the search must find the worst where it looks, and judge it as the formula says."""
    task = ioi.organism.examples(24, 4)
    circuit = Circuit.of_names(NAIVE, heads)
    found = completeness(ioi, task, circuit, random=1, seed=0)
    chosen, judged = (Knockouts(ioi, ioi.bind(half), heads, "mean") for half in task.split(0))

    def gap(under, k):
        inside = set(circuit.nodes) - set(k)
        return abs(float((under.kept([inside]) - under.values([k])).mean())) / under.span

    subsets = [k for size in range(6) for k in combinations(circuit.nodes, size)]
    worst = max(subsets, key=lambda k: gap(chosen, k))
    assert found.estimate.value == pytest.approx(gap(judged, worst), abs=0.02)
    assert found.estimate.value > 0.3
    complete = completeness(ioi, task, circuit.plus(Circuit.of_names([BACKUP], heads).nodes), subsets=2, random=4)
    assert abs(complete.estimate.value) < 0.05
    assert complete.nulls[0].p == pytest.approx(1 / 5)


def test_minimality_agrees_with_the_planted_roles(ioi, heads):
    task = ioi.organism.examples(48, 5)
    circuit = Circuit.of_names([*NAIVE, BACKUP, "a1.h1"], heads)
    table = minimality(ioi, task, circuit).table.set_index("node")
    assert table.loc["a1.h1", "score"] < 0.02
    assert table.loc[[*NAIVE, BACKUP], "score"].min() > 0.1
    assert table.loc[~table["in_circuit"], "score"].abs().max() < 0.02
    # The backup is needed only without a mover.
    assert set(table.loc[BACKUP, "without"].split(", ")) & {"a1.h0", "a1.h2"}
    under = Knockouts(ioi, ioi.bind(task.split(0)[1]), heads, "mean")
    lost = under.kept([circuit.nodes]) - under.kept([circuit.without([Node.parse("a1.h0")]).nodes])
    assert table.loc["a1.h0", "score"] >= abs(float(lost.mean())) / under.span - 0.02


def test_references_are_what_they_say(ioi, task):
    bound, site = ioi.bind(task), "blocks.1.attn.z"
    corrupt = ioi.run(bound.corrupt, record=[site])[site]
    assert torch.equal(references(ioi, bound, [site], "corrupt")[site], corrupt)
    assert not references(ioi, bound, [site], "zero")[site].any()
    resampled = references(ioi, bound, [site], "resample", seed=1)[site]
    assert not torch.equal(resampled, corrupt)
    assert torch.equal(resampled.sum((1, 2, 3)).sort().values, corrupt.sum((1, 2, 3)).sort().values)
    mean = references(ioi, bound, [site], "mean")[site]
    for i in range(len(task)):
        same = [j for j in range(len(task)) if task.groups[j] == task.groups[i]]
        if len(same) > 1:
            length = int(bound.inputs.lengths[i])
            assert mean[i, :length].numpy() == pytest.approx(corrupt[same].mean(0)[:length].numpy(), abs=1e-6)
    with pytest.raises(UsageError, match="ablation"):
        references(ioi, bound, [site], "median")


def test_a_circuit_survives_its_file(tmp_path, ioi, task, heads):
    site = "blocks.1.resid_post"
    basis = pca(ioi.record(task.clean, [site]), components=3)
    universe = (*heads, Node("blocks.0.resid_pre", position=-1), *nodes(ioi, basis))
    circuit = Circuit(universe[::2], universe, {"a0.h1": 0.5}, "ioi", ioi.fingerprint())
    circuit.save(tmp_path / "circuit.json")
    assert Circuit.load(tmp_path / "circuit.json", [basis]) == circuit
    basis.save(tmp_path / "basis")
    again = Circuit.load(tmp_path / "circuit.json", [mt.load_basis(tmp_path / "basis")])
    assert again == circuit
    assert faithfulness(ioi, task, Circuit(again.nodes, again.universe), random=1).estimate is not None
    with pytest.raises(SubjectMismatch, match="basis"):
        Circuit.load(tmp_path / "circuit.json")


GOOD = {"format": "microtome.circuit", "version": 1, "task": "t", "subject": "", "scores": {},
        "nodes": [{"site": "a"}], "universe": [{"site": "a"}]}  # fmt: skip


@pytest.mark.parametrize("change", [
    {"format": "other"}, {"version": 2}, {"version": None}, {"nodes": {}}, {"nodes": "a"}, {"nodes": [1]}, {"nodes": [{}]},
    {"nodes": [{"site": 5}]}, {"nodes": [{"site": ""}]}, {"nodes": [{"site": "a", "head": True}]},
    {"nodes": [{"site": "a", "head": -1}]}, {"nodes": [{"site": "a", "head": "0"}]}, {"nodes": [{"site": "a", "head": 1.5}]},
    {"nodes": [{"site": "a", "extra": 1}]}, {"nodes": [{"site": "a", "coordinates": "x"}]}, {"nodes": [{"site": "b"}]},
    {"nodes": [{"site": "a"}, {"site": "a"}]}, {"nodes": [{"site": "a", "basis": 3}]}, {"universe": None},
    {"scores": [1]}, {"scores": {"a": "x"}}, {"scores": {"a": None}}, {"task": 4}, {"subject": ["x"]},
])  # fmt: skip
def test_damaged_and_hostile_circuits_are_refused(tmp_path, change):
    path = tmp_path / "circuit.json"
    path.write_text(json.dumps(GOOD))
    assert Circuit.load(path).nodes == (Node("a"),)
    path.write_text(json.dumps(GOOD | change))
    with pytest.raises(FormatError):
        Circuit.load(path)
    for missing in GOOD:
        path.write_text(json.dumps({k: v for k, v in GOOD.items() if k != missing}))
        with pytest.raises(FormatError):
            Circuit.load(path)


@pytest.mark.parametrize("text", ["", "[", "[]", "null", '{"format": NaN}', '{"a": 1, "a": 2}', "[" * 5000, "\x00"])
def test_files_that_are_no_circuit_are_refused(tmp_path, text):
    path = tmp_path / "circuit.json"
    path.write_text(text)
    with pytest.raises(FormatError):
        Circuit.load(path)


def test_set_operations_and_refusals_of_a_circuit(heads, ioi, task):
    circuit = Circuit.of_names(NAIVE, heads)
    assert circuit.plus(heads[:1]).without(heads[:1]).nodes == circuit.nodes
    assert set(circuit.nodes).isdisjoint(circuit.outside)
    assert len(circuit) + len(circuit.outside) == 12
    with pytest.raises(UsageError, match="component 'a1"):
        Circuit.of_names(["a1.h00"], heads)
    with pytest.raises(UsageError, match="not among"):
        Circuit((Node("elsewhere"),), tuple(heads))
    with pytest.raises(SubjectMismatch):
        faithfulness(ioi, task, Circuit(circuit.nodes, circuit.universe, subject="0" * 32))
    for method in (completeness, minimality):
        with pytest.raises(UsageError, match="empty"):
            method(ioi, task, Circuit((), tuple(heads)))
    for wrong in ([], "mean", ["median"]):
        with pytest.raises(UsageError, match="ablation"):
            faithfulness(ioi, task, circuit, ablations=wrong)
    noise = [place for place in heads if ioi.organism.truth.role(place.layer, place.head) == "noise"]
    with pytest.raises(Degenerate, match="do not carry"):
        Knockouts(ioi, ioi.bind(task), [Node("blocks.2.attn.z", head=noise[-1].head, position=0)], "mean")


def test_random_circuits_have_the_shape_of_the_circuit(planted):
    from microtome.trace.circuit import random_circuits

    universe = tuple(nodes(planted.subject, "component"))
    circuit = Circuit((universe[0], universe[1], universe[-1]), universe)
    for drawn in random_circuits(circuit, 20, 0):
        assert sorted(n.site.rpartition(".")[2] for n in drawn) == ["out", "z", "z"]
    assert random_circuits(circuit, 5, 1) == random_circuits(circuit, 5, 1)
    assert len({frozenset(d) for d in random_circuits(circuit, 50, 2)}) > 10


def test_each_set_is_computed_once(ioi, task, heads):
    under = Knockouts(ioi, ioi.bind(task), heads, "mean")
    first = under.values([[heads[0]], [heads[1], heads[2]]])
    cost = under.forwards
    assert np.array_equal(under.values([[heads[2], heads[1]], [heads[0]]]), first[::-1])
    assert under.forwards == cost

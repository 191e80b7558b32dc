"""Hierarchical search of attribution graphs: merging, levels, learned scores, the search and the circuit that it finds."""

import numpy as np
import pytest
import torch

import microtome as mt
from microtome.errors import NonFinite, ShapeError, UsageError
from microtome.subject.basis import Identity
from microtome.testing.planted_network import ANSWER, D_MODEL, KEYS, planted_network
from microtome.trace import attribution_graph, hagd
from microtome.trace.attribution_graph import AttributionGraph
from microtome.trace.coarse_to_fine import coarse_to_fine
from microtome.trace.graph_files import empty
from microtome.trace.graph_levels import Cluster, levels, slow
from microtome.trace.graph_maths import mass_of
from microtome.trace.graph_merge import affinity, merged
from microtome.trace.graph_scorer import graph_scorer, judged, log_sizes, node_features
from microtome.trace.hagd import Ablation


def random_graph(seed: int, n: int = 24):
    """Features 0..n-2 that lead to an output; those that carry the planted mark have strong edges among them."""
    g = torch.Generator().manual_seed(seed)
    member = torch.zeros(n, dtype=torch.bool)
    member[torch.randperm(n - 1, generator=g)[:6]] = True
    ahead = torch.ones(n, n).triu(1).bool()
    real = (torch.rand(n, n, generator=g) < 0.2) & ahead
    strong = member[:, None] & member[None, :] & ahead
    real[:, -1] |= member
    real[-1, -1] = False
    source, target = (real | strong).nonzero().T
    weight = torch.rand(len(source), generator=g) + 3.0 * strong[source, target]
    columns = empty(n)
    columns["kind"][:], columns["kind"][-1], columns["place"][:-1] = 3, 5, 0
    columns["index"][:], columns["layer"][:], columns["start"][-1] = torch.arange(n), torch.arange(n), 1.0
    columns["mass"] = mass_of(n, target, weight)
    return AttributionGraph(**columns, source=source, target=target, weight=weight, places=("planted",)), member


def leaves(cluster: Cluster) -> list[int]:
    return [i for p in cluster.parts for i in leaves(p)] if cluster.parts else list(cluster.members)


def test_merged_graph_equals_sums_by_name_oracle():
    planted = planted_network(0)
    bound = planted.subject.bind(planted.task)
    basis = Identity(f"blocks.{planted.block}.attn.out", D_MODEL)
    pairs = list(zip(bound.answers.tolist(), bound.wrong.tolist()))[:3]
    graphs = [attribution_graph(planted.subject, bound.inputs[i], [basis], target=p) for i, p in enumerate(pairs)]
    whole = merged(graphs)
    slow_effect, slow_weight = {}, {}
    for g in graphs:
        names = [("logit",) if g.kind[i] == 5 else (int(g.kind[i]), int(g.layer[i]), int(g.index[i])) for i in range(len(g))]
        for name, e in zip(names, g.effect.tolist()):
            slow_effect[name] = slow_effect.get(name, 0.0) + e / 3
        for s, t, w in zip(g.source.tolist(), g.target.tolist(), g.weight.tolist()):
            slow_weight[names[s], names[t]] = slow_weight.get((names[s], names[t]), 0.0) + abs(w) / 3
    assert len(whole) == len(slow_effect)
    assert len(whole.source) == len(slow_weight)
    assert sorted(whole.effect.tolist()) == pytest.approx(sorted(slow_effect.values()), abs=1e-5)
    assert sorted(whole.weight.tolist()) == pytest.approx(sorted(slow_weight.values()), abs=1e-5)
    same = affinity(whole)
    assert torch.equal(same, same.T)
    assert float(same.sum()) == pytest.approx(2 * float(whole.weight.sum()), rel=1e-5)
    with pytest.raises(UsageError, match="no graphs"):
        merged([])


def test_slow_directions_are_eigenvectors_and_isolated_nodes_do_no_harm():
    w = np.random.default_rng(0).random((9, 9))
    w = w + w.T
    w[4] = w[:, 4] = 0
    vectors = slow(w, 3)
    degree = w.sum(1)
    scale = np.diag([0 if d == 0 else d**-0.5 for d in degree])
    laplacian = np.eye(9) - scale @ w @ scale
    values = np.diag(vectors.T @ laplacian @ vectors)
    assert np.allclose(laplacian @ vectors, vectors * values, atol=1e-9)
    assert np.isfinite(vectors).all()


@pytest.mark.parametrize("branching", [3, 4])
def test_levels_hold_every_node_once_and_separate_blocks(branching):
    w = np.kron(np.eye(3), np.ones((5, 5))) + 0.01
    nodes = np.arange(1, 15)
    root = levels(w, nodes, np.zeros(14), branching=branching, seed=3)
    assert sorted(leaves(root)) == nodes.tolist()
    assert all(len(p.parts) <= branching for p in (root, *root.parts))
    pure = [
        c for c in (root, *root.parts, *(q for p in root.parts for q in p.parts)) if len({(i // 5) for i in c.members}) == 1
    ]
    assert {i // 5 for c in pure for i in c.members} == {0, 1, 2}
    scores = np.where(nodes % 2 == 0, 5.0, 0.0)  # where edges tell nothing, scores divide
    first = levels(np.ones((15, 15)), nodes, scores, branching=2).parts
    assert {frozenset(i % 2 for i in p.members) for p in first} == {frozenset({0}), frozenset({1})}
    with pytest.raises(ShapeError, match="symmetric"):
        levels(np.triu(w), nodes, np.zeros(14))
    with pytest.raises(UsageError, match="branching"):
        levels(w, nodes, np.zeros(14), branching=1)
    with pytest.raises(NonFinite):
        levels(w, nodes, np.full(14, np.nan))


def test_search_judges_only_what_promises_and_keeps_to_its_budget():
    def tree(first: int, size: int) -> Cluster:
        parts = tuple(tree(first + k * size // 4, size // 4) for k in range(4)) if size >= 4 else ()
        parts = parts or (tuple(Cluster((first + k,)) for k in range(2)) if size == 2 else ())
        return Cluster(tuple(range(first, first + size)), parts)

    root = tree(0, 32)
    planted, calls = {17, 20, 22}, []

    def lost(sets):
        calls.extend(tuple(s) for s in sets)
        return np.array([len(planted & set(s)) / 3 for s in sets])

    found = coarse_to_fine(root, lost, budget=32)
    assert set(found.members(0.1)) == planted
    assert found.judged == len(calls) < 25
    inner = [c for c in calls if len(c) < 8]
    assert all(i in range(16, 24) for c in inner for i in c)
    assert set(found.ranking(dict.fromkeys(range(32), 0.0))[:3]) == planted
    assert len(found.within) == 32
    calls.clear()
    assert coarse_to_fine(root, lost, budget=9).judged == len(calls) <= 9
    with pytest.raises(UsageError, match="budget"):
        coarse_to_fine(root, lost, budget=1)
    with pytest.raises(NonFinite):
        coarse_to_fine(root, lambda sets: np.full(len(sets), np.nan), budget=9)


def test_scorer_attention_equals_a_loop_oracle_and_ignores_units():
    graph, member = random_graph(0, 12)
    scorer = graph_scorer([graph], [member], width=6, steps=2)
    w, h, edges = scorer.weights, node_features(graph), log_sizes(graph)
    h = (h @ w["enter"] + w["enter_bias"]).relu()
    for r in range(2):
        new = []
        for i in range(12):
            heard = []
            for k in range(4):
                e = (edges if k < 2 else edges.T)[i]
                there = [j for j in range(12) if e[j] > -torch.inf]
                logit = torch.tensor([float(h[i] @ w[f"ask{r}"][:, k] + h[j] @ w[f"answer{r}"][:, k] + w[f"size{r}"][k] * e[j])
                                      for j in there])  # fmt: skip
                heard.append(sum((s * h[j] for s, j in zip(logit.softmax(0), there)), torch.zeros(6)))
            new.append(torch.nn.functional.layer_norm(h[i] + torch.cat(heard) @ w[f"read{r}"], (6,)))
        h = torch.stack(new)
    torch.testing.assert_close(scorer(graph), h.relu() @ w["leave"] + w["leave_bias"], atol=1e-4, rtol=1e-4)
    from dataclasses import replace

    louder = replace(graph, weight=7 * graph.weight, mass=7 * graph.mass)
    torch.testing.assert_close(scorer(louder), scorer(graph), atol=1e-4, rtol=1e-4)
    assert torch.equal(judged(w, node_features(graph), edges), scorer(graph))


def test_scorer_learns_planted_circuits_and_refuses_what_teaches_nothing():
    known = [random_graph(s) for s in range(8)]
    scorer = graph_scorer([g for g, _ in known], [m for _, m in known], steps=80)
    fresh = [random_graph(s) for s in range(100, 104)]
    areas = [mt.evidence.auroc(scorer(g)[:-1], m[:-1]).item() for g, m in fresh]
    assert np.mean(areas) > 0.85
    graph, member = known[0]
    with pytest.raises(UsageError, match="as many"):
        graph_scorer([graph], [])
    with pytest.raises(ShapeError, match="members"):
        graph_scorer([graph], [member[:-1]])
    with pytest.raises(UsageError, match="teaches nothing"):
        graph_scorer([graph], [torch.zeros_like(member)])


def test_hagd_finds_planted_directions_and_its_circuit_keeps_what_was_asked():
    planted = planted_network(1)
    basis = Identity(f"blocks.{planted.block}.attn.out", D_MODEL)
    circuit = hagd(planted.subject, planted.task, [basis], share=0.9)
    assert {n.unit for n in circuit.nodes} <= set(range(ANSWER, ANSWER + KEYS))
    ablation = Ablation(planted.subject, planted.subject.bind(planted.task), [basis])
    none, kept = ablation.metric([circuit.universe, circuit.outside])
    whole = ablation.clean.mean()
    assert kept >= none + 0.9 * (whole - none) - 1e-6
    assert ablation.lost([[]])[0] == pytest.approx(0.0, abs=1e-6)
    assert hagd(planted.subject, planted.task, [basis], share=0.9).nodes == circuit.nodes
    guided = hagd(planted.subject, planted.task, [basis], scorer=lambda g: g.influence())
    assert set(guided.nodes) <= set(guided.universe)


def test_hagd_reads_a_transcoder_and_refuses_options_out_of_range():
    subject = mt.load("organism:grokking")
    every = subject.organism.examples(200).inputs
    recording = subject.record(every, ["blocks.0.resid_mid", "blocks.0.mlp.out"])
    basis = mt.decompose.transcoder(recording, reads="blocks.0.resid_mid", writes="blocks.0.mlp.out", latents=24, k=6, steps=60,
                                    batch=128)  # fmt: skip
    clean, corrupt = every[:12], every[12:24]
    answers, wrong = (x[:, :2].sum(1) % 53 for x in (clean, corrupt))
    keep = answers != wrong
    task = mt.Task("sum", clean[keep], corrupt[keep], answers[keep], wrong[keep], kind="tokens")
    circuit = hagd(subject, task, [basis], prompts=4)
    assert 0 < len(circuit) <= len(circuit.universe) <= 24
    assert {n.site for n in circuit.universe} == {"blocks.0.resid_mid"}
    for options, word in (({"share": 0.0}, "share"), ({"budget": 2.0}, "budget"), ({"branching": 1}, "branching"),
                          ({"prompts": 0}, "prompts")):  # fmt: skip
        with pytest.raises(UsageError, match=word):
            hagd(subject, task, [basis], **options)
    with pytest.raises(UsageError, match="no bases"):
        hagd(subject, task, [])

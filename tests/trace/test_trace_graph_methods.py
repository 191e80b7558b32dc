"""Methods on attribution graphs: flows, pruned backward passes, indirect effects, patch-free sums, discrete codes."""

import pytest
import torch
from tests.trace.graph_world import WIDTH, WORDS, coders, network, prompt

import microtome as mt
from microtome.errors import ShapeError, SiteError, UsageError
from microtome.rng import torch_rng
from microtome.stimuli.task import Task
from microtome.subject.basis import Identity, Linear
from microtome.trace import (
    attention_score,
    attribution_graph,
    discrete_sae_circuits,
    head_outputs,
    hierarchical_attribution,
    keep_only,
    patch_free_circuits,
    shift,
    sparse_feature_circuits,
    transcoder_circuits,
)  # fmt: skip
from microtome.trace.attribution_graph import KINDS
from microtome.trace.discrete_sae_circuits import discrete
from microtome.trace.norms import hold_spread


def pairs(n: int = 6, length: int = 6) -> Task:
    g = torch.Generator().manual_seed(3)
    clean, corrupt = (torch.randint(0, WORDS, (n, length), generator=g) for _ in range(2))
    return Task("random pairs", clean, corrupt, torch.full((n,), 3), torch.full((n,), 4), kind="tokens", groups=list(range(n)))


@pytest.mark.parametrize("family", ["llama", "gpt2", "plain"])
def test_transcoder_circuits_flows_equal_the_target(family):
    subject, bases, ids = network(family), coders(family), prompt()
    graph = transcoder_circuits(subject, ids, bases, breadth=12, depth=4)
    assert len(graph.of_kind("head")) > 0
    known = graph.expanded
    assert float((graph.received() - graph.value)[known].abs().max()) < 1e-4
    logits = subject.run(ids[None]).logits[0, -1]
    assert abs(float(graph.value[-1]) - float(logits.max() - logits.mean())) < 1e-4


def test_transcoder_circuits_head_edges_equal_an_oracle():
    """The head contributions to a unit: pattern x (W_O W_V x_s) . encoder, from recorded values."""
    subject, bases, ids = network("plain"), coders("plain"), prompt()
    run = subject.run(ids[None], record=["blocks.1.attn.pattern", "blocks.1.attn.v", bases[1].site])
    feature = int(bases[1].encode(run[bases[1].site])[0, -1].argmax())
    graph = transcoder_circuits(subject, ids, bases, target=bases[1].unit(feature), breadth=200, depth=1)
    pattern, value = run["blocks.1.attn.pattern"][0], run["blocks.1.attn.v"][0]
    o, size, seen = subject.module.transformer.h[1].attn.o_proj.weight.detach(), WIDTH // 4, 0
    for edge in graph.incoming(len(graph) - 1).tolist():
        node = int(graph.source[edge])
        if KINDS[int(graph.kind[node])] == "head" and int(graph.layer[node]) == 1:
            h, s = int(graph.index[node]), int(graph.key[node])
            wanted = pattern[h, -1, s] * (o[:, h * size : (h + 1) * size] @ value[s, h]) @ bases[1].W_enc[:, feature]
            assert abs(float(graph.weight[edge]) - float(wanted)) < 1e-4
            seen += 1
    assert seen == 4 * 7


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_hierarchical_attribution_equals_the_whole_graph_when_nothing_is_pruned(family):
    subject, bases, ids = network(family), coders(family), prompt()
    whole = attribution_graph(subject, ids, bases, target=5, nodes=10_000)
    found = hierarchical_attribution(subject, ids, bases, target=5, threshold=-1.0)
    by_label = {whole.label(i): float(whole.effect[i]) for i in range(len(whole))}
    for i in range(len(found)):
        assert abs(by_label[found.label(i)] - float(found.effect[i])) < 1e-4
    leaves = (found.kind != KINDS.index("feature")) & (found.start == 0)
    assert abs(float(found.effect[leaves].sum() - found.value[-1])) < 1e-4 * abs(float(found.value[-1]))


def test_hierarchical_attribution_equals_a_slow_oracle_and_takes_one_forward_and_one_backward():
    """Prune node by node, from the last layer down, on the edges of the whole graph."""
    subject, bases, ids, tau = network("llama"), coders("llama"), prompt(), 0.02
    whole = attribution_graph(subject, ids, bases, target=5, nodes=10_000)
    effect = {len(whole) - 1: float(whole.value[-1])}
    for node in sorted(whole.of_kind("feature").tolist(), key=lambda i: -int(whole.layer[i])):
        out = (whole.source == node).nonzero()[:, 0].tolist()
        brought = sum(float(whole.weight[e]) * effect.get(t, 0.0) / float(whole.value[t])
                      for e in out for t in [int(whole.target[e])])  # fmt: skip
        if abs(brought) > tau:
            effect[node] = brought
    passes = []
    block = subject.module.model.layers[0]

    def count(_module, _args, output):
        passes.append("forward")
        tensor = output if isinstance(output, torch.Tensor) else output[0]
        tensor.register_hook(lambda _: passes.append("backward"))

    handle = block.register_forward_hook(count)
    found = hierarchical_attribution(subject, ids, bases, target=5, threshold=tau, edges=False)
    handle.remove()
    assert passes == ["forward", "backward"]
    ours = {found.label(i): float(found.effect[i]) for i in found.of_kind("feature").tolist()}
    wanted = {whole.label(i): v for i, v in effect.items() if i != len(whole) - 1}
    assert set(ours) == set(wanted)
    assert 0 < len(ours) < len(whole.of_kind("feature"))
    assert max(abs(ours[k] - wanted[k]) for k in ours) < 1e-4
    positive = hierarchical_attribution(subject, ids, bases, target=5, threshold=tau, keep="positive", edges=False)
    assert bool((positive.effect[positive.of_kind("feature")] > tau).all())


def test_keep_only_leaves_the_network_alone_when_everything_is_kept():
    subject, bases, ids = network("llama"), coders("llama"), prompt()
    inputs, graph = subject.inputs(ids[None]), attribution_graph(subject, ids, bases, nodes=10_000)
    same, none = (subject.run(inputs, edits=keep_only(subject, inputs, bases, graph, keep)).logits[:, -1]
                  for keep in (None, torch.zeros(len(graph), dtype=torch.bool)))  # fmt: skip
    assert torch.allclose(same, subject.run(inputs).logits[:, -1], atol=1e-4)
    assert not torch.allclose(none, same, atol=1e-2)
    first, nothing = bases[0], torch.zeros(len(graph), dtype=torch.bool)
    clean = subject.run(inputs, record=[first.site, first.writes])
    left = subject.run(inputs, edits=keep_only(subject, inputs, bases, graph, nothing), record=[first.writes])[first.writes]
    rest = clean[first.writes] - first.encode(clean[first.site]) @ first.directions  # the plain run's error, and the bias
    assert torch.allclose(left, rest, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_norm_whose_spread_is_held_is_affine(family):
    subject = network(family)
    inputs, last = subject.inputs(prompt()[None]), subject.sites("*resid_post")[-1].name
    clean = subject.run(inputs, record=[last])
    hold = hold_spread(subject, last, "final_norm", clean[last])
    assert torch.allclose(subject.run(inputs, edits=hold).logits, clean.logits, atol=1e-5)
    push = torch.randn(WIDTH, generator=torch.Generator().manual_seed(0))
    for held in (True, False):
        once, twice = (subject.run(inputs, edits=[mt.steer(last, push, strength=k), *(hold if held else [])]).logits
                       - clean.logits for k in (1.0, 2.0))  # fmt: skip
        assert torch.allclose(twice, 2 * once, atol=1e-4) is held


def test_sparse_feature_circuits_effects_agree_with_exact_interventions():
    subject, task = network("plain"), pairs()
    basis = Linear("blocks.2.mlp.out", torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(0)))
    graph = sparse_feature_circuits(subject, task, [basis], node_threshold=0.0, steps=3)
    bound = subject.bind(task)
    source = subject.run(bound.corrupt, record=[basis.site])[basis.site]
    sets = [mt.patch(basis.site, source, unit=u, basis=basis) for u in range(WIDTH)]
    swept = subject.sweep(bound.inputs, sets, bound.metric)
    exact = (swept.values - swept.base).mean(1)  # after the last block the network without norms is linear
    nodes = graph.of_kind("feature")
    assert torch.allclose(graph.effect[nodes], exact[graph.index[nodes]], atol=1e-4)
    into = torch.zeros(len(graph)).index_add_(0, graph.source, graph.weight)
    assert torch.allclose(into[nodes], graph.effect[nodes], atol=0.011)  # all of it is direct; small edges are left out


def test_sparse_feature_circuits_edges_equal_a_finite_difference_oracle():
    subject, task = network("llama"), pairs(2)
    g = torch.Generator().manual_seed(1)
    up, down = (Linear(s, torch.randn(WIDTH, WIDTH, generator=g)) for s in ("blocks.0.mlp.out", "blocks.1.attn.out"))
    graph = sparse_feature_circuits(subject, task, [up, down], node_threshold=0.0, edge_threshold=0.0, steps=1)
    bound, step = subject.bind(task), 1e-3
    x = subject.run(bound.inputs, record=[up.site, down.site])
    y = subject.run(bound.corrupt, record=[up.site])
    mid = torch.lerp(x[down.site], subject.run(bound.corrupt, record=[down.site])[down.site], 0.5)
    slope = subject.gradients(bound.inputs, [down.site], bound.metric, [mt.patch(down.site, mid)])[1][down.site]
    change = up.encode(y[up.site]) - up.encode(x[up.site])
    for u, d in ((0, 3), (5, 1), (7, 7)):
        moved = x[up.site] + step * change[..., u : u + 1] * up.decoder[u]
        after = subject.run(bound.inputs, record=[down.site], edits=[mt.patch(up.site, moved)])[down.site]
        coordinate = (down.encode(after) - down.encode(x[down.site]))[..., d] / step
        wanted = float(((slope @ down.decoder[d]) * coordinate).sum(1).mean())
        ends = [(graph.unit(int(s)), graph.unit(int(t))) for s, t in zip(graph.source, graph.target)]
        found = [float(w) for w, pair in zip(graph.weight, ends) if pair == (up.unit(u), down.unit(d))]
        assert abs(sum(found) - wanted) < 2e-3 + 0.02 * abs(wanted)


def test_shift_ablates_what_was_marked():
    basis = Identity("blocks.0.mlp.out", WIDTH)
    (edit,) = shift([basis], [basis.unit(3), basis.unit(1), basis.unit(3)])
    assert (edit.site, edit.unit, edit.value) == ("blocks.0.mlp.out", [1, 3], 0.0)
    with pytest.raises(UsageError, match="nothing"):
        shift([basis], [])
    with pytest.raises(UsageError, match="none of the bases"):
        shift([basis], [Identity("blocks.1.mlp.out", WIDTH).unit(0)])


def test_patch_free_circuits_agree_with_the_whole_graph():
    subject, ids = network("gpt2"), prompt()
    g = torch.Generator().manual_seed(0)
    bases = [
        Linear(f"blocks.{b}.{p}", torch.randn(WIDTH, WIDTH, generator=g)) for b in range(3) for p in ("attn.out", "mlp.out")
    ]
    graph = patch_free_circuits(subject, ids, bases, target=5, breadth=6, depth=3)
    whole = attribution_graph(subject, ids, bases, target=5, nodes=10_000)
    assert float((graph.received() - graph.value)[graph.expanded].abs().max()) < 1e-3
    edges = {(whole.label(int(s)), whole.label(int(t))): float(w) for s, t, w in zip(whole.source, whole.target, whole.weight)}
    for s, t, w in zip(graph.source.tolist(), graph.target.tolist(), graph.weight.tolist()):
        assert abs(edges[graph.label(s), graph.label(t)] - w) < 1e-3
    assert max(len(graph.incoming(i)) for i in range(len(graph))) == 6


@pytest.mark.parametrize("family", ["gpt2", "plain"])
def test_attention_score_pairs_equal_the_score(family):
    subject, ids = network(family), prompt()
    bases = [Linear(f"blocks.0.{p}", torch.randn(WIDTH, WIDTH, generator=torch_rng(0, p))) for p in ("attn.out", "mlp.out")]
    found = attention_score(subject, ids, bases, block=2, head=1, query=6, key=2)
    run = subject.run(ids[None], record=["blocks.2.attn.q", "blocks.2.attn.k"])
    wanted = run["blocks.2.attn.q"][0, 6, 1] @ run["blocks.2.attn.k"][0, 2, 1] / (WIDTH // 4) ** 0.5
    assert abs(float(found.weight.sum()) - float(wanted)) < 1e-4 * max(1.0, float(found.weight.abs().max()))
    assert len(found.table(5)) == 5
    with pytest.raises(UsageError, match="positions"):
        attention_score(subject, ids, bases, block=2, head=1, query=2, key=6)
    with pytest.raises(SiteError, match="rotated"):
        attention_score(network("llama"), ids, bases, block=2, head=1, query=6, key=2)


def test_discrete_sae_circuits_equal_a_count_by_hand():
    subject, task = network("gpt2"), pairs(8)
    recording = head_outputs(subject, task)
    bound = subject.bind(task)
    run = subject.run(bound.inputs, record=["blocks.0.attn.out"])["blocks.0.attn.out"][:, -1]
    bias = subject.module.transformer.h[0].attn.c_proj.bias
    parts = recording.matrix().view(16, 12, WIDTH)
    assert torch.allclose(parts[:8, :4].sum(1) + bias, run, atol=1e-5)  # the heads of a block add up to its output
    basis = mt.decompose.random_dictionary(recording, latents=12, k=4)
    graph, codes = discrete_sae_circuits(subject, task, basis, edges=20), discrete(basis, parts)
    for h in range(12):
        assert float(graph.effect[h]) == len({int(c) for c in codes[:8, h]} - {int(c) for c in codes[8:, h]})
    assert 0 < len(graph.weight) <= 20
    for s, t, w in zip(graph.source.tolist(), graph.target.tolist(), graph.weight.tolist()):
        both = [{(int(c[s]), int(c[t])) for c in half} for half in (codes[:8], codes[8:])]
        assert w == len(both[0] - both[1])
        assert int(graph.layer[s]) < int(graph.layer[t])
    mixed = []
    for ways in range(256):  # every way in which the kinds of eight pairs can change places
        swap = torch.tensor([[ways >> i & 1 == 1] for i in range(8)])
        a, b = torch.where(swap, codes[8:], codes[:8]), torch.where(swap, codes[:8], codes[8:])
        mixed.append([len({*a[:, h].tolist()} - {*b[:, h].tolist()}) for h in range(12)])
    beyond = discrete_sae_circuits(subject, task, basis, excess=True).effect
    assert torch.allclose(beyond, graph.effect - torch.tensor(mixed, dtype=torch.float32).mean(0), atol=1e-5)
    with pytest.raises(ShapeError, match="head_outputs"):
        discrete_sae_circuits(subject, task, Identity("heads", 5))
    with pytest.raises(UsageError, match="edges"):
        discrete_sae_circuits(subject, task, basis, edges=-1)


def test_options_of_the_methods_are_checked():
    subject, ids, bases = network("llama"), prompt(), coders("llama")
    for call in (lambda: transcoder_circuits(subject, ids, bases, breadth=0),
                 lambda: patch_free_circuits(subject, ids, bases, depth=0),
                 lambda: hierarchical_attribution(subject, ids, bases, keep="all"),  # type: ignore[arg-type]
                 lambda: sparse_feature_circuits(subject, pairs(), bases, steps=0),
                 lambda: sparse_feature_circuits(subject, pairs(), bases)):  # fmt: skip
        with pytest.raises(UsageError):
            call()

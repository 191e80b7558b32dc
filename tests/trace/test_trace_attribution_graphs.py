"""Attribution graphs: exact sums, an independent oracle, one forward, bounded memory, pruning."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.trace.graph_world import LATENTS, LAYERS, WIDTH, coder, coders, network, prompt

from microtome.decompose.cross_layer import CrossLayerTranscoder
from microtome.errors import BudgetExceeded, Degenerate, MicrotomeError, ShapeError, SiteError, SubjectMismatch, UsageError
from microtome.subject.basis import Identity
from microtome.subject.unit import Unit
from microtome.trace import attribution_graph, graph_maths


@pytest.mark.parametrize("family", ["llama", "gpt2", "plain"])
@pytest.mark.parametrize("layers", [(0, 1, 2), (1,)])
def test_contributions_equal_the_value_of_each_target(family, layers):
    """With MLPs replaced everywhere, or kept with their gates held in two of three blocks."""
    subject, bases, ids = network(family), coders(family, layers, skip=len(layers) == 1), prompt()
    graph = attribution_graph(subject, ids, bases, nodes=10_000)
    run = subject.run(ids[None], record=[b.site for b in bases])
    received, checked = graph.received(), 0
    for node in graph.of_kind("feature").tolist():
        unit, position = graph.unit(node), int(graph.position[node])
        basis = next(b for b in bases if b.site == unit.site)
        wanted = float(basis.preactivations(run[basis.site])[0, position, unit.index])
        assert abs(float(received[node]) - wanted) <= 1e-4 * max(abs(wanted), 1.0)
        checked += 1
    assert checked > 100 // len(layers) / 4
    logits = run.logits[0, -1]
    for node in graph.of_kind("logit").tolist():
        wanted = float(logits[int(graph.index[node])] - logits.mean())
        assert abs(float(received[node]) - wanted) <= 1e-4 * max(abs(wanted), 1.0)


def test_edges_equal_a_slow_oracle_on_a_network_without_norms():
    """Feature to feature: through the stream, and through each head of the next block, one by one."""
    subject, ids = network("plain"), prompt()
    bases = coders("plain", (0, 1))
    graph = attribution_graph(subject, ids, bases, nodes=10_000)
    run = subject.run(ids[None], record=[bases[0].site, bases[1].site, "blocks.1.attn.pattern"])
    z, pattern = bases[0].encode(run[bases[0].site])[0], run["blocks.1.attn.pattern"][0]
    attention = subject.module.transformer.h[1].attn
    size = WIDTH // 4
    seen = 0
    for edge in range(len(graph.source)):
        s, t = int(graph.source[edge]), int(graph.target[edge])
        if graph.unit(s) is None or graph.unit(t) is None:
            continue
        i, j, a, b = int(graph.index[s]), int(graph.index[t]), int(graph.position[s]), int(graph.position[t])
        read = bases[1].W_enc[:, j]
        written = z[a, i] * bases[0].W_dec[i]
        wanted = float(written @ read) if a == b else 0.0
        for h in range(4):
            value = attention.v_proj.weight.detach()[h * size : (h + 1) * size] @ written
            wanted += float(pattern[h, b, a] * (attention.o_proj.weight.detach()[:, h * size : (h + 1) * size] @ value) @ read)
        assert abs(float(graph.weight[edge]) - wanted) < 1e-4
        seen += 1
    assert seen > 200


def test_one_forward_whatever_the_number_of_targets():
    subject, calls = network("llama"), []
    handle = subject.module.register_forward_hook(lambda _m, _a, out: calls.append(out.logits.shape))
    attribution_graph(subject, prompt(), coders("llama"), nodes=200)
    handle.remove()
    assert len(calls) == 1
    assert calls[0][0] == 1


def test_a_unit_is_explained_as_it_is_within_the_whole_graph():
    subject, bases, ids = network("gpt2"), coders("gpt2"), prompt()
    whole = attribution_graph(subject, ids, bases, nodes=10_000)
    node = next(i for i in whole.of_kind("feature").tolist() if int(whole.layer[i]) == 2)
    unit, at = whole.unit(node), int(whole.position[node])
    own = attribution_graph(subject, ids, bases, target=unit, position=at, nodes=10_000)
    top = len(own) - 1
    brought = {own.label(int(own.source[e])): float(own.weight[e]) for e in own.incoming(top).tolist()}
    for e in whole.incoming(node).tolist():
        assert abs(brought[whole.label(int(whole.source[e]))] - float(whole.weight[e])) < 1e-5


def test_what_is_left_out_is_in_the_rest():
    subject, bases, ids = network("llama"), coders("llama"), prompt()
    for options in ({"nodes": 30}, {"nodes": 30, "edges": 10}):
        graph = attribution_graph(subject, ids, bases, **options)
        assert 20 < len(graph.of_kind("feature")) <= 30  # with few edges kept, fewer nodes are ever reached
        known = graph.expanded
        assert float((graph.received() - graph.value)[known].abs().max()) < 1e-4
        pruned = graph.prune()
        assert len(pruned) < len(graph)
        assert float((pruned.received() - pruned.value)[pruned.expanded].abs().max()) < 1e-4


def test_cross_layer_transcoders_write_later_layers_too():
    g = torch.Generator().manual_seed(0)
    reads, writes = ([f"blocks.{b}.mlp.{p}" for b in range(LAYERS)] for p in ("norm", "out"))
    clt = CrossLayerTranscoder(
        "+".join(reads), reads=reads, writes=writes, W_enc=torch.randn(LAYERS, WIDTH, LATENTS, generator=g) / 5,
        b_enc=torch.zeros(LAYERS, LATENTS), b_dec=torch.randn(LAYERS, WIDTH, generator=g),
        W_dec=[torch.randn(LATENTS, LAYERS - b, WIDTH, generator=g) / 6 for b in range(LAYERS)],
    )  # fmt: skip
    subject, ids = network("llama"), prompt()
    graph = attribution_graph(subject, ids, [clt], nodes=10_000)
    assert float((graph.received() - graph.value)[graph.expanded].abs().max()) < 1e-4
    run = subject.run(ids[None], record=[*reads, *writes])
    x = torch.cat([run[r] for r in reads], -1)
    error = run[writes[2]] - clt(x)[..., 2 * WIDTH :]
    from microtome.trace.frozen import frozen
    from microtome.trace.stations import stations

    net = frozen(subject, subject.inputs(ids[None]), stations(subject, [clt]))
    assert torch.allclose(net.errors[writes[2]], error[0], atol=1e-4)


def test_influence_equals_the_closed_form_and_pruning_keeps_its_promise():
    g = torch.Generator().manual_seed(1)
    n = 30
    dense = torch.randn(n, n, generator=g).tril(-1) * (torch.rand(n, n, generator=g) < 0.4)  # target row, source column
    target, source = dense.nonzero().T
    weight, start = dense[target, source], torch.zeros(n)
    start[-1] = 1.0
    mass = graph_maths.mass_of(n, target, weight)
    a = dense.abs() / mass.clamp_min(1e-30)[:, None]
    wanted = start @ (torch.linalg.inv(torch.eye(n) - a) - torch.eye(n))
    share = graph_maths.normalised(target, weight, mass)
    found = graph_maths.influence(source, target, share, start)
    assert torch.allclose(found, wanted, atol=1e-5)
    keep = torch.zeros(n, dtype=torch.bool)
    kept = graph_maths.prune(source, target, weight, start=start, mass=mass, keep=keep, nodes=0.8, edges=0.98)
    chosen = graph_maths.cumulative(found, 0.8)
    assert found[chosen].sum() >= 0.8 * found.sum() > (found[chosen].sum() - found[chosen].min())
    assert bool((kept.nodes <= (chosen | (start > 0))).all())
    assert bool(kept.nodes[-1])
    assert bool((kept.nodes[source[kept.edges]] & kept.nodes[target[kept.edges]]).all())
    with pytest.raises(Degenerate, match="cycle"):
        graph_maths.influence(torch.tensor([0, 1]), torch.tensor([1, 0]), torch.ones(2), torch.ones(2))


def test_a_hundred_thousand_latents_stay_within_the_memory_that_was_stated():
    """In a process of its own: the peak over what the dictionaries take is bounded."""
    code = """
import resource, torch
from tests.trace.graph_world import coder, network, prompt
from microtome.trace import attribution_graph
subject = network("llama")
bases = [coder(f"blocks.{b}.mlp.norm", f"blocks.{b}.mlp.out", b, latents=34_000) for b in range(3)]
for b in bases:
    b.activation, b.k = "topk", 32
attribution_graph(subject, prompt(3), bases[:1], nodes=2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
graph = attribution_graph(subject, prompt(24), bases, nodes=400, edges=200, memory=32 * 2**20)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
assert len(graph.of_kind("feature")) == 400 and len(graph.source) <= 200 * 420, graph
assert grown < 160, grown
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"nodes": 0}, UsageError, "nodes"),
        ({"target": 99}, UsageError, "0..29"),
        ({"target": "word"}, UsageError, "tokenizer"),
        ({"target": (1, 2, 3)}, UsageError, "pair"),
        ({"target": Unit("blocks.0.mlp.norm", "nothing", 0)}, UsageError, "no basis has"),
        ({"target": Unit("blocks.2.mlp.norm", "transcoder", 0), "position": 99}, UsageError, "not active"),
        ({"nodes": 10_000, "memory": 1000}, BudgetExceeded, "memory"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, error, words):
    with pytest.raises(error, match=words):
        attribution_graph(network("llama"), prompt(), coders("llama"), **options)


def test_bases_and_prompts_that_do_not_fit_are_refused():
    subject, bases, ids = network("llama"), coders("llama"), prompt()
    stranger = coder("blocks.0.mlp.norm", "blocks.0.mlp.out", 0)
    stranger.subject = "f" * 64
    for given, error, words in (
        ([], UsageError, "no bases"),
        ([bases[0], bases[0]], UsageError, "two bases"),
        ([Identity("blocks.0.mlp.out", 5)], ShapeError, "5 units"),
        ([coder("blocks.1.mlp.norm", "blocks.0.mlp.out", 0)], SiteError, "before"),
        ([stranger], SubjectMismatch, "subject"),
        (["sae"], UsageError, "bases"),
    ):
        with pytest.raises(error, match=words):
            attribution_graph(subject, ids, given)
    with pytest.raises(ShapeError, match="one prompt"):
        attribution_graph(subject, ids[None].repeat(2, 1), bases)
    graph = attribution_graph(subject, ids, bases, nodes=5)
    with pytest.raises(ShapeError, match="not there"):
        replace(graph, source=graph.source + 10_000)
    with pytest.raises(MicrotomeError, match="kind"):
        graph.of_kind("neuron")

"""Attribution graphs on tiny random models of real architectures: soft caps, post norms, parallel blocks, grouped queries."""

import pytest
import torch
from tests.subject.tiny import CASES

from microtome.decompose.transcoding import Transcoder
from microtome.rng import torch_rng
from microtome.subject.subject import Subject
from microtome.trace import attribution_graph

WIDTH, LATENTS = 32, 40
BY_NAME = {case.name: case for case in CASES}
FAMILIES = (
    "gemma2",
    "gemma3",
    "gpt_neox",
    "gpt_neox_sequential",
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "phi3",
    "olmo2",
    "gpt2",
)


def world(name, blocks=(0, 1)):
    """A subject, a random transcoder for each MLP of `blocks`, and a prompt."""
    subject = Subject(BY_NAME[name].build(), name=name)
    bases = []
    for b in blocks:
        g = torch_rng(b, "graph architectures")
        draw = [torch.randn(shape, generator=g) for shape in ((WIDTH, LATENTS), (LATENTS,), (LATENTS, WIDTH), (WIDTH,))]
        reads = next(s for s in (f"blocks.{b}.mlp.norm", f"blocks.{b}.resid_mid") if subject.sites(s))
        bases.append(Transcoder(reads, writes=f"blocks.{b}.mlp.out", W_enc=draw[0] / WIDTH**0.5, b_enc=0.1 * draw[1] - 0.3,
                                W_dec=draw[2] / LATENTS**0.5, b_dec=0.1 * draw[3]))  # fmt: skip
    return subject, bases, torch.randint(1, 20, (7,), generator=torch_rng(0, "graph architectures prompt"))


@pytest.mark.parametrize("blocks", [(0, 1), (0,)])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_graph_is_complete_and_equals_the_network(name, blocks):
    """What arrives at each feature is its pre-activation, at each logit its distance from the mean logit, errors included."""
    subject, bases, ids = world(name, blocks)
    graph = attribution_graph(subject, ids, bases, nodes=10_000)
    run = subject.run(ids[None], record=[b.site for b in bases])
    received = graph.received()
    features = graph.of_kind("feature").tolist()
    assert len(features) > 20
    for node in features:
        unit, position = graph.unit(node), int(graph.position[node])
        basis = next(b for b in bases if b.site == unit.site)
        wanted = float(basis.preactivations(run[basis.site])[0, position, unit.index])
        assert float(received[node]) == pytest.approx(wanted, rel=2e-4, abs=2e-4)
    logits = run.logits[0, -1]  # with Gemma 2's soft cap
    for node in graph.of_kind("logit").tolist():
        assert float(received[node]) == pytest.approx(float(logits[int(graph.index[node])] - logits.mean()), rel=2e-4, abs=2e-4)
    assert float((received - graph.value)[graph.expanded].abs().max()) < 2e-4


@pytest.mark.parametrize("cap", [0.05, 30.0])
def test_a_soft_cap_is_held_as_a_scale(cap):
    """Gemma 2: probabilities are those after the cap; what arrives at a logit is scaled by what the cap does to it here."""
    subject, bases, ids = world("gemma2")
    subject.module.config.final_logit_softcapping = None
    plain = attribution_graph(subject, ids, bases, target=(3, 5), nodes=10_000)
    x = subject.run(ids[None]).logits[0, -1]
    subject.module.config.final_logit_softcapping = cap
    after = subject.run(ids[None]).logits[0, -1]
    assert torch.allclose(after, cap * (x / cap).tanh(), atol=1e-6)
    graph = attribution_graph(subject, ids, bases, nodes=10_000)
    shown = graph.of_kind("logit")
    assert graph.start[shown].tolist() == pytest.approx(after.softmax(-1)[graph.index[shown]].tolist(), abs=1e-6)
    pair = attribution_graph(subject, ids, bases, target=(3, 5), nodes=10_000)
    node, same = int(pair.of_kind("logit")[0]), int(plain.of_kind("logit")[0])
    assert float(pair.value[node]) == pytest.approx(float(after[3] - after[5]), abs=1e-5)
    assert float(pair.received()[node]) == pytest.approx(float(after[3] - after[5]), abs=2e-5)
    assert float(plain.value[same]) == pytest.approx(float(x[3] - x[5]), abs=1e-5)
    alone = [attribution_graph(subject, ids, bases, target=t, nodes=10_000) for t in (3, 5)]
    # Against the mean of the same capped logits, two single targets differ by the pair.
    assert float(alone[0].value[-1] - alone[1].value[-1]) == pytest.approx(float(pair.value[node]), abs=1e-5)


def between_blocks(graph):
    """Edges from features of block 0 to features of block 1: (weight, source index and position, target index and position)."""
    for edge in range(len(graph.source)):
        s, t = int(graph.source[edge]), int(graph.target[edge])
        if graph.unit(s) is not None and graph.unit(t) is not None:
            yield (float(graph.weight[edge]), *(int(v) for n in (s, t) for v in (graph.index[n], graph.position[n])))


def test_grouped_queries_equal_a_slow_oracle():
    """Llama with two heads of keys and values for four of queries: through the stream and each head, norms held."""
    subject, bases, ids = world("llama")
    graph = attribution_graph(subject, ids, bases, nodes=10_000)
    sites = [bases[0].site, "blocks.1.resid_pre", "blocks.1.resid_mid", "blocks.1.attn.pattern"]
    z0, before, middle, pattern = (subject.run(ids[None], record=sites)[s][0] for s in sites)
    layer, seen = subject.module.model.layers[1], 0
    gains = [n.weight.detach() for n in (layer.input_layernorm, layer.post_attention_layernorm)]
    spreads = [(x.square().mean(-1) + layer.input_layernorm.variance_epsilon).sqrt() for x in (before, middle)]
    values, out = layer.self_attn.v_proj.weight.detach(), layer.self_attn.o_proj.weight.detach()
    active, size = bases[0].encode(z0), WIDTH // 4
    for weight, i, a, j, b in between_blocks(graph):
        written = active[a, i] * bases[0].W_dec[i]
        arrives = written.clone() if a == b else torch.zeros(WIDTH)
        for h in range(4):
            value = values[(h // 2) * size : (h // 2 + 1) * size] @ (gains[0] * written / spreads[0][a])
            arrives += pattern[h, b, a] * (out[:, h * size : (h + 1) * size] @ value)
        assert weight == pytest.approx(float((gains[1] * arrives / spreads[1][b]) @ bases[1].W_enc[:, j]), abs=1e-4)
        seen += 1
    assert seen > 50


def test_parallel_blocks_equal_a_closed_form():
    """GPT-NeoX: a block's MLP reads what came in, so block 0 reaches block 1's features through the stream alone."""
    subject, bases, ids = world("gpt_neox")
    graph = attribution_graph(subject, ids, bases, nodes=10_000)
    run = subject.run(ids[None], record=[bases[0].site, "blocks.1.resid_pre"])
    norm, x = subject.module.gpt_neox.layers[1].post_attention_layernorm, run["blocks.1.resid_pre"][0]
    spread, active, seen = (x.var(-1, unbiased=False) + norm.eps).sqrt(), bases[0].encode(run[bases[0].site])[0], 0
    for weight, i, a, j, b in between_blocks(graph):
        written = active[a, i] * bases[0].W_dec[i]
        wanted = ((written - written.mean()) / spread[b] * norm.weight.detach()) @ bases[1].W_enc[:, j] if a == b else 0.0
        assert weight == pytest.approx(float(wanted), abs=1e-4)
        seen += a == b
    assert seen > 20

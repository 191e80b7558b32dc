"""Successor heads: OV circuits agree with products of the weights, and lists that are none are refused."""

from itertools import pairwise

import numpy as np
import pytest
import torch

import microtome as mt
from microtome.errors import NonFinite, SiteError, UsageError
from microtome.organisms.small import decoder
from microtome.testing.planted_network import planted_network
from microtome.trace import successor_heads
from microtome.trace.ov import heads_after, output_weights, ov_logits, token_vectors


@pytest.mark.parametrize("family", ["llama", "gpt2", "plain"])
def test_token_vectors_equal_the_mlp_of_the_embedding(family):
    """Oracle: without attention, block 0 is its MLP on (normed) embeddings."""
    model = decoder(13, layers=2, heads=2, width=16, context=8, family=family)
    subject = mt.Subject(model)
    tokens = torch.arange(13)
    if family == "llama":
        x = model.model.embed_tokens(tokens)
        block = model.model.layers[0]
        expected = block.mlp(block.post_attention_layernorm(x))
    else:
        x = model.transformer.wte(tokens) + model.transformer.wpe.weight[0]
        block = model.transformer.h[0]
        expected = block.mlp(block.ln_2(x) if family == "gpt2" else x)
    torch.testing.assert_close(token_vectors(subject, tokens, "blocks.0.mlp.out"), expected)
    torch.testing.assert_close(token_vectors(subject, tokens, "embed"), x)
    torch.testing.assert_close(token_vectors(subject, tokens, "blocks.0.resid_pre"), x)
    torch.testing.assert_close(token_vectors(subject, tokens, "blocks.0.resid_post"), x + expected)


def test_ov_logits_equal_products_of_weights_with_shared_keys(grouped):
    """Oracle by hand on grouped queries: W_U norm_f(W_O^h W_V^{h // 2} norm(x)), head by head."""
    subject, _ = grouped
    vectors = torch.randn(5, 32, generator=torch.Generator().manual_seed(1))
    heads = heads_after(subject, "embed")
    found = ov_logits(subject, vectors, heads)
    model = subject.module
    for node, logits in zip(heads, found):
        layer = model.model.layers[node.layer]
        values = layer.self_attn.v_proj(layer.input_layernorm(vectors)).view(5, 2, 8)[:, node.head // 2]
        written = values @ layer.self_attn.o_proj.weight[:, 8 * node.head : 8 * node.head + 8].T
        torch.testing.assert_close(logits, model.lm_head(model.model.norm(written)))


def test_heads_write_their_parts_of_the_attention_output():
    """Identity: the parts of all heads and the bias add up to attn.out."""
    subject = mt.Subject(decoder(13, layers=2, heads=4, width=16, context=8, family="gpt2"))
    ids = torch.arange(10).view(2, 5)
    run = subject.run(ids, record=["blocks.1.attn.z", "blocks.1.attn.out"], logits="none")
    parts = torch.einsum("nphd,hdm->npm", run["blocks.1.attn.z"], output_weights(subject, 1))
    bias = subject.module.transformer.h[1].attn.c_proj.bias
    torch.testing.assert_close(parts + bias, run["blocks.1.attn.out"])


def test_successor_heads_agree_with_a_loop_over_tokens():
    """Oracle: argmax within the list, token by token; the whole vocabulary; the worst list; the step from last to first."""
    subject = mt.Subject(decoder(20, layers=2, heads=2, width=16, context=8, seed=3))
    lists = {"a": [3, 1, 4, 15], "b": [9, 2, 6, 5, 7]}
    found = successor_heads(subject, lists, draws=20)
    heads = heads_after(subject, "blocks.0.mlp.out")
    for node, row in zip(heads, found.table.itertuples()):
        hits, free = {"a": [], "b": []}, []
        for name, tokens in lists.items():
            for a, b in pairwise(tokens):
                logits = ov_logits(subject, token_vectors(subject, [a], "blocks.0.mlp.out"), [node])[0, 0]
                hits[name].append(tokens[int(logits[tokens].argmax())] == b)
                free.append(int(logits.argmax()) == b)
        assert row.score == pytest.approx(np.mean(hits["a"] + hits["b"]))
        assert row.worst == pytest.approx(min(np.mean(hits["a"]), np.mean(hits["b"])))
        assert row.free == pytest.approx(np.mean(free))


@pytest.mark.parametrize("step", [-2, -1, 1, 2])
def test_steps_find_a_planted_shift(step):
    """Planted: with the unembedding rolled by `step`, the copying head becomes a head of that step."""
    planted = planted_network(1)
    with torch.no_grad():
        planted.subject.module.lm_head.weight[:8] = planted.subject.module.lm_head.weight[:8].roll(step, 0)
    found = successor_heads(planted.subject, {"keys": range(8)}, step=step, through="embed")
    best = found.table.loc[found.table["score"].idxmax()]
    assert (best["layer"], best["head"], best["score"]) == (planted.block, planted.head, 1.0)
    assert found.verdict == "supported"
    if step == 1:
        assert found.controls["last to first"] == 1.0


def test_order_of_lists_does_not_matter(grouped):
    subject, _ = grouped
    a, b = {"x": [1, 2, 3, 4], "y": [9, 8, 7]}, {"y": [9, 8, 7], "x": [1, 2, 3, 4]}
    assert np.allclose(successor_heads(subject, a).table["score"], successor_heads(subject, b).table["score"])


def test_refusals(grouped):
    subject, _ = grouped
    with pytest.raises(SiteError, match="earlier site"):
        heads_after(subject, "blocks.2.mlp.out")
    with pytest.raises(UsageError, match="at least 4"):
        successor_heads(subject, {"x": [1, 2, 3]}, step=2)
    broken = planted_network(0).subject
    with torch.no_grad():
        broken.module.transformer.h[1].mlp.c_fc.weight[0, 0] = float("nan")
    with pytest.raises(NonFinite, match="c_fc"):
        successor_heads(broken, {"keys": range(8)}, through="embed")

"""Slow, independent edge scores: a GPT-2 or Llama written out with one copy of the stream for every reader, by autograd."""

import torch
from torch.nn.functional import silu


def parts(block):
    """(attention, its norm, mlp, its norm) of a block."""
    if hasattr(block, "ln_1"):
        return block.attn, block.ln_1, block.mlp, block.ln_2
    return block.self_attn, block.input_layernorm, block.mlp, block.post_attention_layernorm


def heads_of(config):
    """(query heads, key-value heads, width of a head)."""
    n = getattr(config, "n_head", None) or config.num_attention_heads
    width = getattr(config, "n_embd", None) or config.hidden_size
    return n, getattr(config, "num_key_value_heads", n), width // n


def project(attention, kind, x, head, size, config):
    """One head's query, key or value of x [L, d]."""
    if hasattr(attention, "c_attn"):
        start = {"q": 0, "k": 1, "v": 2}[kind] * config.n_embd + head * size
        return x @ attention.c_attn.weight[:, start : start + size] + attention.c_attn.bias[start : start + size]
    layer = getattr(attention, f"{kind}_proj")
    return x @ layer.weight[head * size : (head + 1) * size].T


def rotate(x, model):
    """Rotary positions of Llama; GPT-2 has none."""
    if not hasattr(model, "model"):
        return x
    cos, sin = model.model.rotary_emb(x[None], torch.arange(len(x))[None])
    half = x.shape[-1] // 2
    return x * cos[0] + torch.cat([-x[:, half:], x[:, :half]], -1) * sin[0]


def forward(model, ids, given=None):
    """Logits [L, vocab], {writer: [L, d]}, {reader: its own copy of the stream [L, d]} for one prompt."""
    config = model.config
    queries, groups, size = heads_of(config)
    gpt = hasattr(model, "transformer")
    stem = model.transformer if gpt else model.model
    x = stem.wte(ids) + stem.wpe(torch.arange(len(ids))) if gpt else stem.embed_tokens(ids)
    wrote, read = {"embed": x}, {}

    def copy(name):
        read[name] = x.clone() if given is None else given.get(name, x.clone())
        return read[name]

    for b, block in enumerate(stem.h if gpt else stem.layers):
        attention, before, mlp, between = parts(block)
        out = torch.zeros_like(x)
        shared = {(k, g): project(attention, k, before(copy(f"blocks.{b}.attn.{k}.h{g}")), g, size, config)
                  for k in "kv" for g in range(groups)}  # fmt: skip
        for h in range(queries):
            g = h // (queries // groups)
            q = rotate(project(attention, "q", before(copy(f"blocks.{b}.attn.q.h{h}")), h, size, config), model)
            scores = q @ rotate(shared["k", g], model).T / size**0.5
            hidden = torch.ones_like(scores, dtype=torch.bool).triu(1)
            z = scores.masked_fill(hidden, -1e30).softmax(-1) @ shared["v", g]
            weight = attention.c_proj.weight if gpt else attention.o_proj.weight.T
            wrote[f"a{b}.h{h}"] = z @ weight[h * size : (h + 1) * size]
            out = out + wrote[f"a{b}.h{h}"]
        x = x + out + (attention.c_proj.bias if gpt else 0.0)
        seen = between(copy(f"m{b}"))
        if gpt:
            wrote[f"m{b}"] = mlp.c_proj(mlp.act(mlp.c_fc(seen)))
        else:
            wrote[f"m{b}"] = mlp.down_proj(silu(mlp.gate_proj(seen)) * mlp.up_proj(seen))
        x = x + wrote[f"m{b}"]
    norm = stem.ln_f if gpt else stem.norm
    return model.lm_head(norm(copy("logits"))), wrote, read


def slow_scores(model, clean, corrupt, right, wrong):
    """{(writer, reader): (out(clean) - out(corrupt)) . d (logit difference) / d (the reader's copy)}, mean over prompts."""
    total = {}
    for ids, other, a, w in zip(clean, corrupt, right, wrong):
        with torch.no_grad():
            _, before, _ = forward(model, other)
        logits, wrote, read = forward(model, ids)
        grads = torch.autograd.grad(logits[-1, a] - logits[-1, w], list(read.values()))
        for reader, grad in zip(read, grads):
            for writer, value in wrote.items():
                part = float(((value.detach() - before[writer]) * grad).sum())
                total[writer, reader] = total.get((writer, reader), 0.0) + part
    return {k: v / len(clean) for k, v in total.items()}


def true_edges(subject, graph):
    """Edges of the graph between nodes that the organism's truth joins."""

    def name(x):
        return x if x in ("embed", "logits") else "a{}.h{}".format(*x.split("."))

    known = {(name(a), name(b)) for a, b in subject.organism.truth.edges}
    ends = {e: "logits" if e.receiver is None else f"a{e.receiver.layer}.h{e.receiver.head}" for e in graph.edges}
    return [e for e in graph.edges if (str(e.sender), ends[e]) in known]

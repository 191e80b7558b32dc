"""An independent oracle: the compiled transformer in float64 numpy, one head and one position at a time.

`heads_off` maps (layer, head) to what the head writes instead, [position, d_model] or 0.
"""

import numpy as np


def forward(module, ids, heads_off=None):
    """Logits at the last position, attention [layer][head][query][key], and what each head wrote at the last position."""
    w = {k: v.detach().double().numpy() for k, v in module.state_dict().items()}
    c, off = module.config, heads_off or {}
    size, heads = c.head_dim, c.num_attention_heads
    h = np.stack([w["transformer.wte.weight"][t] + w["transformer.wpe.weight"][p] for p, t in enumerate(ids)])
    patterns, wrote = {}, {}
    for layer in range(c.num_hidden_layers):
        added = np.zeros_like(h)
        for head in range(heads):
            rows = slice(head * size, (head + 1) * size)
            q, k, v = (h @ w[f"transformer.h.{layer}.attn.{x}_proj.weight"][rows].T for x in "qkv")
            out = np.zeros_like(h)
            pattern = np.zeros((len(ids), len(ids)))
            for t in range(len(ids)):
                scores = np.array([q[t] @ k[s] / size**0.5 for s in range(t + 1)])
                e = np.exp(scores - scores.max())
                pattern[t, : t + 1] = e / e.sum()
                out[t] = w[f"transformer.h.{layer}.attn.o_proj.weight"][:, rows] @ (pattern[t] @ v)
            patterns[layer, head] = pattern
            out = out if (layer, head) not in off else np.broadcast_to(off[layer, head], out.shape)
            wrote[layer, head] = out
            added = added + out
        h = h + added
        if c.intermediate_size:
            m = f"transformer.h.{layer}.mlp"
            hidden = np.maximum(h @ w[f"{m}.fc_in.weight"].T + w[f"{m}.fc_in.bias"], 0)
            h = h + hidden @ w[f"{m}.fc_out.weight"].T + w[f"{m}.fc_out.bias"]
    return w["lm_head.weight"] @ h[-1], patterns, wrote

"""Slow, independent forms of what the trace room computes: plain torch hooks, one node and one prompt at a time."""

import numpy as np
import torch


def difference(logits, task, i):
    """Logit of the answer minus that of the wrong answer, after the last token."""
    return float(logits[0, -1, task.answers[i]] - logits[0, -1, task.wrong[i]])


class Hooked:
    """A GPT-2, Llama or compiled transformer whose heads, MLPs and queries are read and set by plain hooks."""

    def __init__(self, module, heads):
        self.module, self.heads = module, heads
        inner = getattr(module, "transformer", None) or module.model
        self.blocks = inner.h if hasattr(inner, "h") else inner.layers
        attention = [b.attn if hasattr(b, "attn") else b.self_attn for b in self.blocks]
        self.out = [getattr(a, "c_proj", None) or a.o_proj for a in attention]
        self.query = [getattr(a, "c_attn", None) or a.q_proj for a in attention]
        self.mlps = [b.mlp for b in self.blocks if getattr(b, "mlp", None) is not None]

    def run(self, ids, z=None, mlp=None, query=None):
        """(logits, {block: z}, {block: mlp output}, {block: query}); `z`, `mlp`, `query` set blocks to given values.

        z[block] = {head: [length, d_head]}, mlp[block] = [length, d], query[block] = {head: [length, d_head]}.
        """
        z, mlp, query = z or {}, mlp or {}, query or {}
        seen = {"z": {}, "mlp": {}, "query": {}}
        handles = []

        def on_out(block):
            def hook(_, args):
                x = args[0].clone()
                size = x.shape[-1] // self.heads
                for head, value in z.get(block, {}).items():
                    x[0, :, head * size : (head + 1) * size] = value
                seen["z"][block] = x.detach()[0].unflatten(-1, (self.heads, size))
                return (x,)

            return hook

        def on_mlp(block):
            def hook(_, __, out):
                out = mlp[block][None] if block in mlp else out
                seen["mlp"][block] = out.detach()[0]
                return out

            return hook

        def on_query(block):
            def hook(_, __, out):
                out = out.clone()
                size = seen_size(self, block)
                for head, value in query.get(block, {}).items():
                    out[0, :, head * size : (head + 1) * size] = value
                seen["query"][block] = out.detach()[0, :, : self.heads * size].unflatten(-1, (self.heads, size))
                return out

            return hook

        for block in range(len(self.blocks)):
            handles.append(self.out[block].register_forward_pre_hook(on_out(block)))
            handles.append(self.query[block].register_forward_hook(on_query(block)))
        for block, module in enumerate(self.mlps):
            handles.append(module.register_forward_hook(on_mlp(block)))
        try:
            with torch.no_grad():
                logits = self.module(ids[None]).logits
        finally:
            for handle in handles:
                handle.remove()
        return logits, seen["z"], seen["mlp"], seen["query"]


def seen_size(hooked, block):
    """Width of one head."""
    weight = hooked.out[block].weight
    transposed = type(hooked.out[block]).__name__ == "Conv1D"
    return (weight.shape[0] if transposed else weight.shape[1]) // hooked.heads


def head_effects(module, heads, task, direction):
    """Normalised effects of every head [blocks * heads] by one forward per head and prompt."""
    net = Hooked(module, heads)
    changes, totals = [], []
    for i in range(len(task)):
        clean, corrupt = task.clean[i], task.corrupt[i]
        a, za, _, _ = net.run(clean)
        b, zb, _, _ = net.run(corrupt)
        base, source = (corrupt, za) if direction == "denoising" else (clean, zb)
        start = difference(b if direction == "denoising" else a, task, i)
        sign = 1 if direction == "denoising" else -1
        row = [sign * (difference(net.run(base, z={block: {head: source[block][:, head]}})[0], task, i) - start)
               for block in range(len(net.blocks)) for head in range(heads)]  # fmt: skip
        changes.append(row)
        totals.append(difference(a, task, i) - difference(b, task, i))
    return np.mean(changes, axis=0) / np.mean(totals)


def path_effects(module, heads, task, receiver=None, freeze_mlps=False):
    """Path patching in two passes, one head and one prompt at a time; `receiver` = (block, head), at its query."""
    net = Hooked(module, heads)
    changes, totals = [], []
    for i in range(len(task)):
        a, za, ma, _ = net.run(task.clean[i])
        b, zb, _, _ = net.run(task.corrupt[i])
        row = []
        for block in range(len(net.blocks)):
            for head in range(heads):
                held = {k: {h: v[:, h] for h in range(heads)} for k, v in za.items()}
                held[block][head] = zb[block][:, head]
                first, _, _, query = net.run(task.clean[i], z=held, mlp=ma if freeze_mlps else None)
                if receiver is not None:
                    at, to = receiver
                    first = net.run(task.clean[i], query={at: {to: query[at][:, to]}})[0]
                row.append(difference(a, task, i) - difference(first, task, i))
        changes.append(row)
        totals.append(difference(a, task, i) - difference(b, task, i))
    return np.mean(changes, axis=0) / np.mean(totals)

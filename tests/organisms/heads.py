"""Batched helpers for the compiled transformers: run texts, replace what heads give, logit differences."""

from contextlib import contextmanager

import torch


def encode(tokenizer, texts):
    """Right-padded ids and mask, and the index of the last token."""
    batch = tokenizer(list(texts), padding=True, return_tensors="pt")
    return batch.input_ids, batch.attention_mask, batch.attention_mask.sum(1) - 1


def last_logits(module, tokenizer, texts):
    """[n, vocab] at the last real token."""
    ids, mask, last = encode(tokenizer, texts)
    with torch.no_grad():
        return module(ids, mask).logits[torch.arange(len(last)), last]


def logit_difference(logits, tokenizer, task):
    """[n]: right minus wrong."""
    rows = torch.arange(len(task))
    right, wrong = (torch.tensor(tokenizer.convert_tokens_to_ids(list(a))) for a in (task.answers, task.wrong))
    return logits[rows, right] - logits[rows, wrong]


def head_values(module, tokenizer, texts):
    """z of every head: {layer: [n, position, head * d_head]}."""
    kept, handles = {}, []
    for i, block in enumerate(module.transformer.h):
        hook = lambda _, args, i=i: kept.__setitem__(i, args[0].detach())  # noqa: E731
        handles.append(block.attn.o_proj.register_forward_pre_hook(hook))
    ids, mask, _ = encode(tokenizer, texts)
    with torch.no_grad():
        module(ids, mask)
    for handle in handles:
        handle.remove()
    return kept


@contextmanager
def replaced(module, values):
    """While open, head (layer, head) gives values[layer, head] (a number, or broadcastable to [n, position, d_head])."""
    size, handles = module.config.head_dim, []
    for (layer, head), value in values.items():

        def hook(_, args, head=head, value=value):
            z = args[0].clone()
            z[..., head * size : (head + 1) * size] = value
            return (z,)

        handles.append(module.transformer.h[layer].attn.o_proj.register_forward_pre_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

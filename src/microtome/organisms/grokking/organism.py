"""Modular addition by Fourier components: one block, four heads, ReLU MLP, no layer norm, weight decay 1.

The module is a `CompiledTransformer` (that is, GPT-2 names without norms) with learnt weights: the design of Nanda et
al., at p = 53 and width 64. The network turns a and b into cosines and sines at a few frequencies, multiplies them into
those of a + b, and reads off the answer whose phases agree.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from microtome.organisms import shelf
from microtome.organisms.compiled.model import CompiledConfig, CompiledTransformer
from microtome.organisms.fit import fit, seeded
from microtome.rng import rng
from microtome.stimuli.algorithmic.modular import modular_addition
from microtome.stimuli.stimuli import Stimuli

NAME = "grokking"
P = 53
SHOWN = 0.6
CONFIG = CompiledConfig(
    vocab_size=P + 1, hidden_size=64, num_hidden_layers=1, num_attention_heads=4, head_dim=16,
    max_position_embeddings=3, intermediate_size=256,
)  # fmt: skip


@dataclass(frozen=True)
class GrokkingTruth:
    """What the network computes with."""

    p: int
    """The modulus; token p is the "=" sign."""
    frequencies: tuple[int, ...]
    """Key frequencies k in 1..p//2, strongest first: the network works in cos and sin of 2 pi k x / p."""
    share: float
    """Share of the number embeddings' squared norm (constant removed) at those frequencies; 1 = nothing else."""
    power: Tensor
    """[p // 2] share of that norm at each frequency 1..p//2."""
    shown: Tensor
    """LongTensor [n, 2]: the pairs (a, b) that training saw; all others were held out."""


def fourier_basis(p: int) -> Tensor:
    """Orthonormal rows [p, p]: constant, then cos and sin of 2 pi k x / p for k = 1..p//2 (odd p).

    >>> basis = fourier_basis(7)
    >>> torch.allclose(basis @ basis.T, torch.eye(7), atol=1e-5)
    True
    """
    x = torch.arange(p, dtype=torch.float64)
    waves = [torch.ones(p, dtype=torch.float64)]
    for k in range(1, p // 2 + 1):
        waves += [torch.cos(2 * torch.pi * k * x / p), torch.sin(2 * torch.pi * k * x / p)]
    basis = torch.stack(waves)
    return (basis / basis.norm(dim=1, keepdim=True)).float()


def spectrum(embedding: Tensor) -> Tensor:
    """Share of the squared norm of number embeddings [p, d] at each frequency [p // 2], the constant removed."""
    power = (fourier_basis(len(embedding)) @ embedding).square().sum(1)[1:].view(-1, 2).sum(1)
    return power / power.sum()


def truth(module: CompiledTransformer, shown: Tensor) -> GrokkingTruth:
    """Read the key frequencies off the embedding: those that hold at least a tenth of the strongest one's share."""
    p = module.config.vocab_size - 1
    power = spectrum(module.transformer.wte.weight.detach()[:p])
    order = power.argsort(descending=True)
    keys = [int(k) for k in order if power[k] >= 0.1 * power.max()]
    return GrokkingTruth(p, tuple(k + 1 for k in keys), float(power[keys].sum()), power, shown)


def shown_pairs(seed: int = 0) -> Tensor:
    """The pairs [n, 2] that training sees."""
    chosen = rng(seed, NAME, "shown").permutation(P * P)[: int(SHOWN * P * P)]
    return torch.from_numpy(np.stack(np.divmod(np.sort(chosen), P), axis=1))


def build() -> tuple[CompiledTransformer, None, GrokkingTruth]:
    """The trained network, no tokenizer, and its frequencies."""
    module = seeded(lambda: CompiledTransformer(CompiledConfig(**shelf.config(NAME))), 0, NAME)
    shelf.fill(NAME, module)
    return module, None, truth(module, shown_pairs())


def examples(n: int | None = None, seed: int = 0) -> Stimuli:
    """Pairs (all when n is None) with their sums."""
    return modular_addition(n, seed, p=P)


def train(seed: int = 0, *, steps: int = 5000) -> tuple[CompiledTransformer, dict[str, Any], dict[str, float]]:
    """Train from scratch on 60% of the pairs: (module, configuration, figures)."""
    module = seeded(lambda: CompiledTransformer(CONFIG), seed, NAME)
    with torch.no_grad():
        module.transformer.wte.weight.mul_(CONFIG.hidden_size**-0.5)
        module.transformer.wpe.weight.mul_(CONFIG.hidden_size**-0.5)
    pairs = shown_pairs(seed)
    inputs, sums = torch.cat([pairs, torch.full((len(pairs), 1), P)], dim=1), pairs.sum(1) % P

    def loss(_: int) -> Tensor:
        return F.cross_entropy(last_logits(module, inputs)[:, :P], sums)

    fit(module, loss, steps, lr=1e-3, weight_decay=1.0, final=1.0, clip=1e9)
    every = examples()
    answers = torch.tensor(every.labels("label"))
    with torch.no_grad():
        hits = module(every.inputs).logits[:, -1, :P].argmax(-1) == answers
    held_out = torch.ones(P * P, dtype=torch.bool)
    held_out[pairs[:, 0] * P + pairs[:, 1]] = False
    found = truth(module, pairs)
    figures = {"accuracy": float(hits.float().mean()), "held_out": float(hits[held_out].float().mean())}
    figures |= {"frequencies": list(found.frequencies), "share": round(found.share, 4)}
    return module, CONFIG.to_dict(), figures


def last_logits(module: CompiledTransformer, inputs: Tensor) -> Tensor:
    """module(inputs).logits[:, -1] at about a third of the cost: one block, so only the last position is needed."""
    trunk, block = module.transformer, module.transformer.h[0]
    h = trunk.wte(inputs) + trunk.wpe.weight[: inputs.shape[1]]
    attn, (n, length, _) = block.attn, h.shape
    q = attn.q_proj(h[:, -1]).view(n, attn.heads, 1, attn.head_dim)
    k = attn.k_proj(h).view(n, length, attn.heads, attn.head_dim).transpose(1, 2)
    v = attn.v_proj(h).view(n, length, attn.heads, attn.head_dim).transpose(1, 2)
    z = ((q @ k.transpose(-1, -2)) * attn.head_dim**-0.5).softmax(-1) @ v
    last = h[:, -1] + attn.o_proj(z.reshape(n, -1))
    return module.lm_head(last + block.mlp(last))


def from_public(tensors: dict[str, Tensor]) -> CompiledTransformer:
    """The published checkpoints of Nanda et al. as this module: W_E, W_pos, W_Q/K/V/O, W_in/out, W_U.

    Parameters
    ----------
    tensors : the tensors of `modular_addition_113` (one block with MLP) or `induction_2layer` (attention only).

    Returns
    -------
    The same function in this package's architecture, in evaluation mode.
    """
    prefix = "blocks" if any(key.startswith("blocks.") for key in tensors) else "attn_blocks"
    layers = 1 + max(int(key.split(".")[1]) for key in tensors if key.startswith(f"{prefix}."))
    heads, size, width = tensors[f"{prefix}.0.attn.W_Q"].shape
    mlp = tensors[f"{prefix}.0.mlp.W_in"].shape[0] if f"{prefix}.0.mlp.W_in" in tensors else 0
    vocab, positions = tensors["embed.W_E"].shape[1], tensors["pos_embed.W_pos"].shape[0]
    module = seeded(
        lambda: CompiledTransformer(CompiledConfig(vocab, width, layers, heads, size, positions, mlp)), 0, "public"
    )
    state = {"transformer.wte.weight": tensors["embed.W_E"].T, "lm_head.weight": tensors["unembed.W_U"].T}
    state["transformer.wpe.weight"] = tensors["pos_embed.W_pos"]
    for i in range(layers):
        here, there = f"{prefix}.{i}.attn", f"transformer.h.{i}.attn"
        for one in "QKV":
            state[f"{there}.{one.lower()}_proj.weight"] = tensors[f"{here}.W_{one}"].reshape(heads * size, width)
        state[f"{there}.o_proj.weight"] = tensors[f"{here}.W_O"]
        if mlp:
            for ours, theirs in (("fc_in", "in"), ("fc_out", "out")):
                state[f"transformer.h.{i}.mlp.{ours}.weight"] = tensors[f"{prefix}.{i}.mlp.W_{theirs}"]
                state[f"transformer.h.{i}.mlp.{ours}.bias"] = tensors[f"{prefix}.{i}.mlp.b_{theirs}"]
    module.load_state_dict({key: value.contiguous() for key, value in state.items()})
    return module.eval()

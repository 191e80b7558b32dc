"""Zimerman, Ali, Wolf (2024), implicit attention: gated linear recurrences written as attention over tokens.

Random blocks of Mamba, RWKV-4 and RG-LRU (Griffin) in float64 are exactly their matrix plus a rest: compared with their
recurrences, written below one step after the other; the null is the recurrence's matrix without convolution and gates. A
Mamba of two layers learns to report the class of the one marked token among twelve. The attribution by whole mixers ranks
the marked token above the others (AUC over the positions before the one that is read, which keeps a share of its own), and
no worse than the recurrence alone, whose positive part ranks it low here: without the gate its sign is missing
(`recurrence_auc`). Nulls are untrained networks. Setting the embedding of the first-ranked token to zero
costs accuracy, that of a random token hardly any; the null compares two random tokens.

The weights of tokens are the positive gradients at the mixer's input, as the paper's released code has it for vision; the
paper's segmentation figures were not tried: there are no vision Mambas here.

https://arxiv.org/abs/2405.16504
"""

from typing import Any

import torch
import torch.nn.functional as F
from scipy.stats import binomtest
from torch import Tensor, nn

import microtome as mt
from microtome.attribute import implicit_attention
from microtome.attribute.mixers import linearised
from microtome.organisms.fit import seeded
from microtome.organisms.small import IGNORED, decoder, fit_tokens, token_accuracy
from microtome.replicate import Claim
from microtome.rng import rng, torch_rng
from microtome.stimuli.task import Task

CATALOG = ("attribute", 235)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 90
METHODS = (
    "microtome.attribute.implicit_attention", "microtome.attribute.mixers.gated_linear", "microtome.attribute.mixers.mamba",
    "microtome.attribute.mixers.rwkv", "microtome.attribute.mixers.griffin", "microtome.attribute.mixers.mixing",
    "microtome.attribute.mixers.reading", "microtome.attribute.mixers.layers",
)  # fmt: skip
WIDTH, LONG, CLASSES, LENGTH, HELD = 16, 24, 6, 12, 200

CLAIMS = [
    *(Claim(f"{name} is its matrix and a rest: largest error", f"{key}_error", 1e-8, "<=", null=f"{key}_recurrence_error")
      for name, key in (("Mamba", "mamba"), ("RWKV-4", "rwkv4"), ("RG-LRU", "rg_lru"))),
    Claim("AUC of the marked token", "auc", 0.9, null="untrained_auc"),
    Claim("AUC no worse than that of the recurrence alone", "over_recurrence", -0.01,
          no_null="two maps of one network are compared; where the recurrence ranks the token last, any map is no worse"),
    Claim("AUC above that of an untrained network", "over_untrained", 0.25, null="between_untrained"),
    Claim("zeroing the first-ranked token costs more accuracy than a random one: p", "p_zeroed", 0.01, "<=", null="p_random"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Check the identities, train, rank, and zero."""
    model = decoder(2 * CLASSES + 1, layers=2, width=WIDTH, family="mamba", seed=seed)
    g = torch_rng(seed, "marked")
    fit_tokens(model, lambda _: examples(64, g)[:2], 300, lr=1e-2)
    ids, targets, marked = examples(HELD, torch_rng(seed, "held out"))
    subject, answers = mt.Subject(model), targets[:, -1]
    task = Task("marked", ids, ids.flip(0), answers, (answers + 1) % CLASSES, kind="tokens", groups=list(range(HELD)))
    plain = [subject.twin("reinit", seed=seed + k) for k in (0, 100)]
    found = implicit_attention(subject, task).values
    by = [auc(found, marked), auc(implicit_attention(subject, task, part="recurrence").values, marked)]
    none = [auc(implicit_attention(twin, task).values, marked) for twin in plain]
    first = found[:, :-1].argmax(1)
    drawn = [torch.from_numpy(rng(seed, "random", k).integers(0, LENGTH - 1, HELD)) for k in (0, 1)]
    right, *others = (correct(subject, ids, answers, at) for at in (first, *drawn))
    return {
        **identities(seed), "auc": by[0], "untrained_auc": none[0], "over_recurrence": by[0] - by[1],
        "over_untrained": by[0] - none[0], "between_untrained": none[1] - none[0],
        "p_zeroed": fewer(right, others[0]), "p_random": fewer(others[1], others[0]),
        "accuracy": token_accuracy(model, ids, targets), "accuracy_zeroed": float(right.float().mean()),
        "accuracy_random": float(others[0].float().mean()), "recurrence_auc": by[1],
    }  # fmt: skip


def examples(n: int, g: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Eleven tokens of random classes, one of them marked, and a query; the target is the marked token's class."""
    classes = torch.randint(CLASSES, (n, LENGTH), generator=g)
    marked = torch.randint(LENGTH - 1, (n,), generator=g)
    ids, targets = classes.clone(), torch.full((n, LENGTH), IGNORED)
    ids[torch.arange(n), marked] += CLASSES
    ids[:, -1] = 2 * CLASSES
    targets[:, -1] = classes[torch.arange(n), marked]
    return ids, targets, marked


def auc(values: Tensor, marked: Tensor) -> float:
    """Share of the other positions before the last that rank below the marked one, ties by half."""
    values = values[:, :-1]
    own = values.gather(1, marked[:, None])
    below = (values < own).sum(1) + 0.5 * ((values == own).sum(1) - 1)
    return float((below / (LENGTH - 2)).mean())


def correct(subject: mt.Subject, ids: Tensor, answers: Tensor, at: Tensor) -> Tensor:
    """Which answers are right when the embedding of one token per prompt is zero."""
    embed = subject.run(ids, record=["embed"], logits="none")["embed"].clone()
    embed[torch.arange(len(ids)), at] = 0.0
    return subject.run(ids, edits=[mt.patch("embed", embed)], logits="last").logits[:, -1].argmax(1) == answers


def fewer(right: Tensor, other: Tensor) -> float:
    """p that `right` is right less often than `other`: the exact sign test on prompts where they differ."""
    lost, won = int((other & ~right).sum()), int((right & ~other).sum())
    return float(binomtest(lost, lost + won, alternative="greater").pvalue) if lost + won else 1.0


def identities(seed: int) -> dict[str, float]:
    """Largest differences between recurrences and matrices, with and without convolution and gates."""
    x, found = torch.randn(2, LONG, WIDTH, generator=torch_rng(seed, "x"), dtype=torch.float64), {}
    for key, (module, recurrence) in blocks(seed).items():
        with torch.no_grad():
            expected = recurrence(module, x)
        whole = linearised(module, x)
        found[f"{key}_error"] = float((whole.out - expected).abs().max())
        found[f"{key}_recurrence_error"] = float((whole.recurrence().out - expected).abs().max())
    return found


def blocks(seed: int) -> dict[str, tuple[Any, Any]]:
    """One mixer of each kind with its parameters drawn, and its recurrence."""
    import transformers as hf

    common = {"vocab_size": 5, "hidden_size": WIDTH, "num_hidden_layers": 2}
    griffin = hf.RecurrentGemmaConfig(lru_width=WIDTH, num_attention_heads=2, intermediate_size=32, block_types=["recurrent"],
                                      **common)  # fmt: skip
    made = {
        "mamba": (seeded(lambda: hf.MambaModel(hf.MambaConfig(state_size=4, **common)), seed, "m").layers[0].mixer, mamba),
        "rwkv4": (seeded(lambda: hf.RwkvModel(hf.RwkvConfig(**common)), seed, "r").blocks[0].attention, rwkv),
        "rg_lru": (seeded(lambda: hf.RecurrentGemmaModel(griffin), seed, "g").layers[0].temporal_block, rg_lru),
    }
    for name, (module, _) in made.items():
        drawn(module.double(), torch_rng(seed, name))
    return made


@torch.no_grad()
def drawn(module: nn.Module, g: torch.Generator) -> None:
    for name, p in module.named_parameters():
        value = torch.randn(p.shape, generator=g, dtype=p.dtype)
        p.copy_(value.abs().log() if name == "A_log" else value * (0.5 if p.ndim < 2 else p.shape[-1] ** -0.5))


def conv(layer: nn.Module | Any, x: Tensor, i: int) -> Tensor:
    """The convolution at step i [n, channel] of x [n, position, channel]."""
    past = range(min(i + 1, layer.weight.shape[-1]))
    return layer.bias + sum(layer.weight[:, 0, -1 - k] * x[:, i - k] for k in past)


def mamba(m: Any, x: Tensor) -> Tensor:
    """h_i = exp(dt_i A) h_{i-1} + dt_i B_i u_i, y_i = W (silu(z_i) (C_i h_i + D u_i))."""
    inner, z = m.in_proj(x).chunk(2, dim=-1)
    h, out, states = 0.0, [], m.A_log.shape[1]
    for i in range(x.shape[1]):
        u = F.silu(conv(m.conv1d, inner, i))
        low, b, c = m.x_proj(u).split([m.time_step_rank, states, states], dim=-1)
        dt = F.softplus(m.dt_proj(low))[..., None]
        h = torch.exp(-m.A_log.exp() * dt) * h + dt * b[:, None] * u[..., None]
        out.append(m.out_proj(F.silu(z[:, i]) * ((h * c[:, None]).sum(-1) + m.D * u)))
    return torch.stack(out, dim=1)


def rwkv(m: Any, x: Tensor) -> Tensor:
    """Sums of e^k v and of e^k that decay by e^-w per step; the present token has a bonus."""
    top = bottom = before = torch.zeros_like(x[:, 0])
    w, out = m.time_decay.exp(), []
    for i in range(x.shape[1]):
        r, k, v = (layer(x[:, i] * mix[0] + before * (1 - mix[0])) for layer, mix in (
            (m.receptance, m.time_mix_receptance), (m.key, m.time_mix_key), (m.value, m.time_mix_value)))  # fmt: skip
        own = torch.exp(m.time_first + k)
        out.append(m.output(torch.sigmoid(r) * (top + own * v) / (bottom + own)))
        top, bottom, before = torch.exp(-w) * top + k.exp() * v, torch.exp(-w) * bottom + k.exp(), x[:, i]
    return torch.stack(out, dim=1)


def rg_lru(m: Any, x: Tensor) -> Tensor:
    """h_i = a_i h_{i-1} + sqrt(1 - a_i^2) g_i u_i, but h_0 = g_0 u_0; gates are block-diagonal."""
    inner, unit, h, out = m.linear_x(x), m.rg_lru, 0.0, []
    for i in range(x.shape[1]):
        u = conv(m.conv_1d, inner, i)
        g = torch.sigmoid(u @ torch.block_diag(*unit.input_gate_weight) + unit.input_gate_bias.flatten())
        r = torch.sigmoid(u @ torch.block_diag(*unit.recurrent_gate_weight) + unit.recurrent_gate_bias.flatten())
        a = torch.exp(-8 * r * F.softplus(unit.recurrent_param))
        h = a * h + torch.sqrt(1 - a**2) * g * u if i else g * u
        out.append(m.linear_out(h * m.act_fn(m.linear_y(x[:, i]))))
    return torch.stack(out, dim=1)

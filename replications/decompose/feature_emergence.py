"""Sawmya et al. (2025), The Birth of Knowledge: categorical features appear in training, and earlier for common topics.

A small language model learns texts of six topics that share their words (a third of the theme words each) and differ in
frequency from 40% to 3%. At eleven checkpoints a TopK dictionary is fitted to either layer, and `feature_emergence` counts the
latents that tell a topic from the others on held-out texts, where all topics are equally common. Nulls: the network before
training (the first checkpoint: a random network has latents for words, which tell topics a little), permuted topics, and
frequencies in another order.

Limits: thresholds in training time and over layers, not over sizes; features of early layers that return in late ones are not
looked at; one dictionary per checkpoint.

https://arxiv.org/abs/2505.19440
"""

import numpy as np
import torch
from torch import Tensor

import microtome as mt
from microtome.decompose import feature_emergence, topk_sae
from microtome.evidence import spearman
from microtome.organisms.small import decoder, fit_tokens
from microtome.replicate import Claim
from microtome.rng import rng
from microtome.subject.recording import Recording

CATALOG = ("decompose", 64)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 60
METHODS = ("microtome.decompose.feature_emergence", "microtome.decompose.pooled", "microtome.decompose.topk_sae")
TOPICS, THEME, OWN, COMMON, LENGTH, TEXTS = 6, 36, 12, 12, 16, 48
SHARES = np.array([0.40, 0.25, 0.16, 0.10, 0.06, 0.03])
WORDS = 1 + THEME + COMMON
STEPS = (0, 10, 20, 40, 60, 80, 120, 160, 240, 320, 480)

CLAIMS = [
    Claim("latents gained from the first checkpoint to the last, in the lesser layer", "gained", 5.0, null="gained_null"),
    Claim("topics emerge in the order of their frequency (rank correlation of steps and shares)", "order", -0.6, "<=",
          null="order_null"),
    Claim("most latents of permuted topics at any checkpoint", "by_chance", 1.0, "<=", null="last"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Count categorical latents over a training."""
    model = decoder(WORDS, layers=2, heads=4, width=32, context=LENGTH + 1, seed=seed)
    ids, topic = texts(TOPICS * TEXTS, seed, "judged", even=True)
    layers: dict[str, dict[str, Tensor]] = {f"blocks.{i}.resid_post": {} for i in range(2)}

    def look(step: int) -> None:
        if step in STEPS:
            rows = mt.Subject(model).record(ids, list(layers))
            for site, values in layers.items():
                values[f"step {step}"] = rows[site].matrix()
            model.train()

    def batch(step: int) -> tuple[Tensor, Tensor]:
        look(step)
        x, _ = texts(32, seed, f"train {step}")
        return x[:, :-1], x[:, 1:]

    fit_tokens(model, batch, STEPS[-1], lr=5e-3)
    look(STEPS[-1])
    index = {"sample": np.repeat(np.arange(len(ids)), LENGTH + 1)}
    labels = {f"topic {k}": np.repeat(topic == k, LENGTH + 1) for k in range(TOPICS)}
    found = [
        feature_emergence(Recording.of(values, index=index, labels=labels), fit=dictionary, draws=19, seed=seed)
        for values in layers.values()
    ]
    steps = np.mean([emerged(finding) for finding in found], axis=0)
    orders = [rng(seed, "another order", i).permutation(SHARES) for i in range(99)]
    worst = min(found, key=lambda finding: finding.estimate.value)
    return {
        "gained": worst.estimate.value, "gained_null": max(float(f.nulls[0].statistics.max()) for f in found),
        "order": float(spearman(steps, SHARES)), "order_null": float(np.mean([spearman(steps, o) for o in orders])),
        "by_chance": max(f.controls["largest_by_chance"] for f in found), "last": min(f.controls["last"] for f in found),
        "first": max(f.controls["first"] for f in found), **{f"step_{k}": float(steps[k]) for k in range(TOPICS)},
    }  # fmt: skip


def emerged(finding: mt.Finding) -> list[int]:
    """Place in the order of the checkpoint at which each topic emerges; one past the last where it never does."""
    at = finding.table.drop_duplicates("property").set_index("property")["emerged_at"]
    names = [*(f"step {s}" for s in STEPS), "never"]
    return [names.index(at[f"topic {k}"]) for k in range(TOPICS)]


def dictionary(recording: Recording, seed: int) -> mt.Basis:
    """A hundred and fifty updates are enough for the few thousand rows of a checkpoint."""
    return topk_sae(recording, latents=128, k=4, steps=150, batch=256, lr=5e-3, seed=seed)


def texts(n: int, seed: int, name: str, *, even: bool = False) -> tuple[Tensor, np.ndarray]:
    """Texts [n, 1 + LENGTH] that begin with word 0, and their topics, drawn by frequency or evenly."""
    g = rng(seed, "topics", name)
    themes = np.stack([rng(seed, "theme", k).permutation(THEME)[:OWN] for k in range(TOPICS)])
    topic = np.arange(n) % TOPICS if even else g.choice(TOPICS, n, p=SHARES)
    theme = 1 + themes[topic[:, None], g.integers(0, OWN, (n, LENGTH))]
    common = 1 + THEME + g.integers(0, COMMON, (n, LENGTH))
    words = np.where(g.random((n, LENGTH)) < 0.6, theme, common)
    return torch.from_numpy(np.concatenate([np.zeros((n, 1), dtype=np.int64), words], axis=1)), topic

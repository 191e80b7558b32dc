"""Gurnee et al. (2023), Finding Neurons in a Haystack: how many units does a property take?

Planted activations of 256 units, properties at a base rate of 5%: A on one unit, B = three units together, C spread over
64 units. One unit tells A and not C; four tell B; C needs 32 or more. Each of B's units has decoys: noisy copies of one of
them with larger mean differences. Adaptive thresholding finds B's own units among them, the mean difference does not.
Null: shuffled labels, for which every k gives the F1 of the best constant answer, since the choice stands inside the split.

And in a small GPT trained on two languages over the same words (each word has three successors, by the language's own
permutations, so that words alone say nothing): one neuron of the MLPs, averaged over a sentence as the authors do for what
is true of a whole sequence, tells its language; in the network before training none does. Token by token it does not: the
best neuron stays near the constant answer, with these languages and (0.87 to 0.94 for 0.9) with languages that have words
of their own.

https://arxiv.org/abs/2305.01610
"""

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from microtome.organisms.fit import fit, seeded
from microtome.read import sparse_probe
from microtome.replicate import Claim
from microtome.rng import rng, torch_rng
from microtome.subject.recording import Recording
from microtome.subject.subject import Subject

CATALOG = ("neurons", 12)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 60
METHODS = ("microtome.read.sparse_probe", "microtome.read.logistic_probe", "microtome.read.labelled")
ROWS, UNITS, RATE, LENGTH, WORDS, FIRST, STEPS = 24000, 256, 0.05, 64, 32, 32, 600
CONSTANT = 2 * RATE / (1 + RATE)

CLAIMS = [
    Claim("one unit tells A: held-out F1", "a_1", 0.9, null="shuffled_1"),
    Claim("one unit does not tell C: F1", "c_1", 0.4, "<=", null="a_1"),
    Claim("four units tell B: F1", "b_4", 0.9, null="b_1"),
    Claim("share of dense F1 that C reaches with 32 units", "c_32", 0.8, null="c_16"),
    Claim("adaptive thresholds find B's own units among decoys: of 3", "b_found", 3.0, null="b_found_by_means"),
    Claim("shuffled labels: largest distance from the constant answer", "shuffled_gap", 0.05, "<=", null="a_gap"),
    Claim("one neuron of a trained GPT, averaged, tells a sentence's language: best F1", "gpt_1", 0.9, null="gpt_untrained_1"),
    Claim("and better than before training: gain in F1", "gpt_gain", 0.1, null="gpt_gain_of_nothing"),
]


def run(seed: int) -> dict[str, float]:
    """F1 of probes on k units: planted properties, shuffled labels, and neurons of a GPT before and after training."""
    recording, own = planted(seed)

    def f1(label: str, k: int, selector: str = "mean_difference") -> float:
        return sparse_probe(recording, label, k=k, selector=selector, seed=seed).metrics["f1"]

    found = {s: chosen(sparse_probe(recording, "B", k=4, selector=s, seed=seed)) for s in ("adaptive", "mean_difference")}
    shuffled = {k: f1("shuffled", k) for k in (1, 4, 32, UNITS)}
    dense = f1("C", UNITS)
    trained, untrained = gpt(seed, steps=STEPS), gpt(seed, steps=0)
    gpt_1, gpt_0, again = (max(language_f1(s, seed)) for s in (trained, untrained, gpt(seed + 100, steps=0)))
    return {
        "a_1": f1("A", 1), "b_1": f1("B", 1, "adaptive"), "b_4": f1("B", 4, "adaptive"), "c_1": f1("C", 1),
        "c_16": f1("C", 16) / dense, "c_32": f1("C", 32) / dense, "c_dense": dense,
        "b_found": len(found["adaptive"] & own), "b_found_by_means": len(found["mean_difference"] & own),
        "shuffled_1": shuffled[1], "shuffled_gap": max(abs(v - CONSTANT) for v in shuffled.values()),
        "a_gap": abs(f1("A", 1) - CONSTANT), "gpt_1": gpt_1, "gpt_untrained_1": gpt_0,
        "gpt_gain": gpt_1 - gpt_0, "gpt_gain_of_nothing": again - gpt_0, "gpt_loss": next_token_loss(trained, seed),
        "gpt_untrained_loss": next_token_loss(untrained, seed), "gpt_token": max(language_f1(trained, seed, mean=False)),
    }


def chosen(probe) -> set[int]:
    return set(probe.directions[0].nonzero().flatten().tolist())


def planted(seed: int) -> tuple[Recording, set[int]]:
    """Activations with A on one unit, B on three, C on 64, and decoys of one of B's; and B's own units."""
    draw = rng(seed, "planted")
    a, c = draw.random(ROWS) < RATE, draw.random(ROWS) < RATE
    parts = draw.random((ROWS, 3)) < RATE ** (1 / 3)
    b = parts.all(axis=1)
    x = draw.normal(size=(ROWS, UNITS))
    unit = draw.permutation(UNITS)
    x[:, unit[0]] += 6 * a
    x[:, unit[1:4]] = 0.15 * x[:, unit[1:4]] + parts
    x[:, unit[4:68]] += 0.6 * c[:, None]
    # Copies of the first part that fire more often on B than the parts do, and are noisy elsewhere.
    x[:, unit[68:76]] = 0.35 * x[:, unit[68:76]] + (parts[:, :1] & (b[:, None] | (draw.random((ROWS, 8)) < 0.6)))
    labels = {"A": a, "B": b, "C": c, "shuffled": draw.permutation(a)}
    return Recording.of(torch.from_numpy(x), site="mlp", labels=labels), set(unit[1:4].tolist())


def gpt(seed: int, steps: int) -> Subject:
    """A GPT-2 of two layers, trained on sequences of either language for so many steps."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=WORDS, n_positions=LENGTH, n_embd=48, n_layer=2, n_head=4, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    module = seeded(lambda: GPT2LMHeadModel(config), seed, "gpt").eval()
    fit(module, lambda step: lm_loss(module, sentences(seed, step, 64)[0]), steps, lr=3e-3)
    return Subject(module, name="two languages")


def lm_loss(module: nn.Module, ids: Tensor) -> Tensor:
    return nn.functional.cross_entropy(module(ids).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def next_token_loss(subject: Subject, seed: int) -> float:
    with torch.no_grad():
        return float(lm_loss(subject.module, sentences(seed, -1, 256)[0]))


def sentences(seed: int, step: int, n: int) -> tuple[Tensor, Tensor]:
    """Token ids [n, length] and the language [n]: each word is followed by one of three others, by its language's table."""
    draws = [torch_rng(seed, "language", i) for i in range(2)]
    follow = torch.stack([torch.stack([torch.randperm(WORDS, generator=d) for _ in range(3)], dim=1) for d in draws])
    g = torch_rng(seed, "sentences", step)
    language = torch.randint(2, (n,), generator=g)
    text = [torch.randint(WORDS, (n,), generator=g)]
    for _ in range(LENGTH - 1):
        text.append(follow[language, text[-1], torch.randint(3, (n,), generator=g)])
    return torch.stack(text, dim=1), language


def language_f1(subject: Subject, seed: int, *, mean: bool = True) -> list[float]:
    """F1 of the best neuron of each layer for the language, in the second half of the sentences or in its mean."""
    ids, language = sentences(seed, -2, 600)
    found = []
    for site in [s.name for s in subject.sites("blocks.*.mlp.hidden")]:
        late = subject.record(ids, [site])[site].matrix().view(*ids.shape, -1)[:, FIRST:]
        rows = late.mean(1) if mean else late[:200].flatten(0, 1)
        labels = language if mean else language[:200].repeat_interleave(late.shape[1])
        sample = np.arange(len(rows)) if mean else np.repeat(np.arange(200), late.shape[1])
        table = pd.DataFrame({"sample": sample, "position": 0})
        recording = Recording.of(rows, site=site, index=table, labels={"language": labels.bool().numpy()})
        found.append(sparse_probe(recording, "language", k=1, seed=seed).metrics["f1"])
    return found

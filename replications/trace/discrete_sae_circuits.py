"""O'Neill, Bui (2024), Sparse Autoencoders Enable Scalable and Reliable Circuit Identification: heads from discrete codes.

A hand-wired induction model of 24 heads (one previous-token head, three induction heads, twenty of noise, which by
construction do not matter). Ten prompts end with a letter that occurred before, ten with a new one, where there is nothing
to continue. One ReLU autoencoder of 200 features is fitted on the outputs of all heads at the answer, and heads are scored
on twenty other prompts. Means over ten draws of prompts and noise. The previous-token head writes much the same in both
kinds of prompts at the answer, so the method does not see it: 0.875 is about the most that can be reached. The plain
baseline, the mean absolute difference of head outputs between the kinds, is reported beside it. Edges are not judged:
they are co-occurrences.

https://arxiv.org/abs/2405.12522
"""

from dataclasses import replace

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

import microtome as mt
from microtome.decompose import relu_sae
from microtome.organisms.compiled.induction import CONFIG, LAYOUT, RULES, VOCAB, embed
from microtome.organisms.compiled.wiring import assemble
from microtome.organisms.compiled.words import word_tokenizer
from microtome.replicate import Claim
from microtome.rng import derive, rng
from microtome.stimuli.algorithmic.letters import LETTERS
from microtome.stimuli.task import Task
from microtome.trace import discrete_sae_circuits, head_outputs

CATALOG = ("trace", 221)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 60
METHODS = ("microtome.trace.discrete_sae_circuits",)
HEADS, DRAWS, PROMPTS, LENGTH = 12, 10, 10, 12

CLAIMS = [
    Claim("node AUROC (mean of ten draws)", "auroc", 0.8, null="shuffled_auroc"),
    Claim(
        "with kinds of prompts shuffled, distance of the AUROC from a half", "shuffled_distance", 0.12, "<=", null="distance"
    ),
    Claim("forward passes, as a share of ablating every head", "passes", 0.1, "<=", null="ablation_passes"),
]


def run(seed: int) -> dict[str, float]:
    """Means over draws of prompts, noise and dictionaries."""
    rows = np.array([draw(derive(seed, "draw", k)) for k in range(DRAWS)]).mean(0)
    return {
        "auroc": rows[0], "shuffled_auroc": rows[1], "baseline_auroc": rows[2], "distance": abs(rows[0] - 0.5),
        "shuffled_distance": abs(rows[1] - 0.5), "passes": 2 / (2 * HEADS), "ablation_passes": 1.0,
    }  # fmt: skip


def draw(seed: int) -> tuple[float, float, float]:
    """AUROC of the scores, of scores with shuffled kinds, and of the plain difference."""
    rules = [RULES[0], *(replace(RULES[1], head=h) for h in (0, 5, 9))]
    module = assemble(replace(CONFIG, num_attention_heads=HEADS), LAYOUT, rules, seed=seed)
    embed(module)
    subject = mt.Subject(module, word_tokenizer(VOCAB), name="induction with 24 heads")
    fitted, scored = prompts(derive(seed, "fit")), prompts(derive(seed, "score"))
    basis = relu_sae(head_outputs(subject, fitted), latents=200, l1=0.5, steps=300, batch=240, lr=3e-3, seed=seed)
    swap = rng(seed, "shuffled kinds").random(PROMPTS) < 0.5
    mixed = replace(scored, clean=[b if s else a for a, b, s in zip(scored.clean, scored.corrupt, swap)],
                    corrupt=[a if s else b for a, b, s in zip(scored.clean, scored.corrupt, swap)])  # fmt: skip
    found, null = (discrete_sae_circuits(subject, task, basis) for task in (scored, mixed))
    inside = [(int(a), int(b)) in {(r.layer, r.head) for r in rules} for a, b in zip(found.layer, found.index)]
    outputs = head_outputs(subject, scored).matrix().view(2, PROMPTS, 2 * HEADS, -1).mean(1)
    plain = (outputs[0] - outputs[1]).abs().mean(-1)
    scores = (found.effect, null.effect, plain)
    return tuple(float(roc_auc_score(inside, torch.as_tensor(s).numpy())) for s in scores)  # type: ignore[return-value]


def prompts(seed: int) -> Task:
    """Letters that end with one of their own again (clean), or with a new one (corrupt)."""
    generator, clean, corrupt, answers, wrong = rng(seed, "prompts"), [], [], [], []
    for _ in range(PROMPTS):
        letters = list(generator.permutation(LETTERS)[: LENGTH + 1])
        at = int(generator.integers(1, LENGTH - 2))
        clean.append(" ".join(["<bos>", *letters[:LENGTH], letters[at]]))
        corrupt.append(" ".join(["<bos>", *letters]))
        answers.append(letters[at + 1])
        wrong.append(letters[LENGTH])
    return Task("induction or nothing", clean, corrupt, answers, wrong, kind="text", groups=list(range(PROMPTS)))

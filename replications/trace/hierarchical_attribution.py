"""Ge et al. (2024), Automatically Identifying Local and Global Circuits with Linear Computation Graphs.

On the language organism: TopK autoencoders at the attention outputs and transcoders in the place of the MLPs of its four
layers; the target is the logit difference of the two names. With everything kept, leaves add up to the target. The pruned
attribution takes one forward and one backward (counted by hooks). With as many nodes, keeping only its set keeps more of
the target than the set that plain attribution ranks highest, prompt by prompt, and than random active coordinates. As in
the paper's code, nodes count that raise the target, by more than 0.1; errors of the bases are leaves in all three arms:
they stay as they were on the prompt.

The sets are compared where the paper defines them: attention patterns and norm scales held, gates of the dictionaries
free. With patterns and scales free too, the gain is gone: `beats_plain_free` is about a half. Before, with all free and
errors recomputed in the ablated run, it was .48 to .68 of the prompts on seeds 0-2 (asked: .7); thresholds .03 to .5, both
signs, a single logit as target and 512 latents did not change that. The measure was changed after these figures, so seeds
3-5 are reported.

https://arxiv.org/abs/2405.13868
"""

from typing import Any

import torch

import microtome as mt
from microtome.decompose import topk_sae, transcoder
from microtome.replicate import Claim
from microtome.rng import torch_rng
from microtome.trace import hierarchical_attribution, keep_only
from microtome.trace.attribution_graph import KINDS
from microtome.trace.norms import hold_spread

CATALOG = ("trace", 48)
SEEDS = (3, 4, 5)
BUDGET_SECONDS = 120
METHODS = (
    "microtome.trace.hierarchical_attribution", "microtome.trace.frozen", "microtome.trace.chosen_graph",
    "microtome.trace.norms",
)  # fmt: skip
DOCUMENTS, PROMPTS = 300, 50
SETTINGS = {"latents": 256, "k": 16, "steps": 500, "batch": 256, "lr": 3e-3}
#: In logits; the paper's default.
THRESHOLD = 0.1

CLAIMS = [
    Claim("leaves add up to the target (largest relative error)", "error", 1e-4, "<=", null="error_without_errors"),
    Claim("forward and backward passes", "passes", 2.0, "<=", null="nodes"),
    Claim("prompts on which it keeps more than plain ranking", "beats_plain", 0.7, null="random_beats_plain"),
    Claim("prompts on which it keeps more than random active coordinates", "beats_random", 0.95, null="random_beats_plain"),
]


def run(seed: int) -> dict[str, float]:
    """Fit, attribute, and keep only what was found."""
    subject = mt.load("organism:language")
    blocks = range(subject.facts.blocks)
    sites = [f"blocks.{b}.{part}" for b in blocks for part in ("attn.out", "mlp.norm", "mlp.out")]
    recording = subject.record(subject.organism.examples(DOCUMENTS, seed), sites)
    bases: list[Any] = [topk_sae(recording[f"blocks.{b}.attn.out"], seed=seed, **SETTINGS) for b in blocks]
    bases += [transcoder(recording, reads=f"blocks.{b}.mlp.norm", writes=f"blocks.{b}.mlp.out", seed=seed, **SETTINGS)
              for b in blocks]  # fmt: skip
    task = subject.bind(subject.organism.truth.task("ioi", PROMPTS, seed))
    rows = [prompt(subject, task, i, bases, seed) for i in range(PROMPTS)]
    table = torch.tensor([r[2:] for r in rows])
    by_pruning, plain, chance, free, plain_free = table[:, :5].T
    return {
        "error": max(r[0] for r in rows), "error_without_errors": sum(r[1] for r in rows) / len(rows),
        "passes": float(table[:, 6].max()), "nodes": float(table[:, 5].mean()),
        "beats_plain": float((by_pruning > plain).float().mean()), "random_beats_plain": float((chance > plain).float().mean()),
        "beats_random": float((by_pruning > chance).float().mean()), "kept": float(by_pruning.mean()),
        "kept_plain": float(plain.mean()), "kept_random": float(chance.mean()), "target": float(table[:, 7].mean()),
        "beats_plain_free": float((free > plain_free).float().mean()),
    }  # fmt: skip


def prompt(subject: mt.Subject, task: Any, i: int, bases: list[Any], seed: int) -> list[float]:
    """Sums and ablations on one prompt."""
    inputs = task.inputs[i : i + 1]
    inputs = subject.inputs(inputs["input_ids"][:, : int(inputs.lengths[0])])
    target = (int(task.answers[i]), int(task.wrong[i]))
    whole = hierarchical_attribution(subject, inputs, bases, target=target, threshold=-1.0, edges=False)
    leaves = (whole.kind != KINDS.index("feature")) & (whole.start == 0)
    value = float(whole.value[-1])
    errors = whole.kind == KINDS.index("error")
    passes, pruned = count(subject, lambda: hierarchical_attribution(
        subject, inputs, bases, target=target, threshold=THRESHOLD, keep="positive", edges=False))  # fmt: skip
    size = len(pruned.of_kind("feature"))
    features = whole.kind == KINDS.index("feature")
    plain = torch.zeros(len(whole), dtype=torch.bool)
    plain[torch.where(features, whole.effect, -1e9).topk(size).indices] = True
    draw = torch.rand(len(whole), generator=torch_rng(seed, "random set", i))
    chance = torch.zeros_like(plain)
    chance[torch.where(features, draw, -1.0).topk(size).indices] = True
    arms = [keep_only(subject, inputs, bases, pruned), *(keep_only(subject, inputs, bases, whole, s) for s in (plain, chance))]
    held = hold(subject, inputs)
    left = [subject.run(inputs, edits=edits, logits="last").logits[0, -1] for edits in (*(held + a for a in arms), *arms[:2])]
    kept = [float(x[target[0]] - x[target[1]]) for x in left]
    gap = abs(float(whole.effect[leaves].sum()) - value) / abs(value)
    missing = abs(float(whole.effect[errors].sum())) / abs(value)
    return [gap, missing, *kept, float(size), float(passes), value]


def hold(subject: mt.Subject, inputs: Any) -> list[mt.Edit]:
    """Edits that keep every attention pattern and every norm's scale as they are on the prompt."""
    blocks = range(subject.facts.blocks)
    patterns = [f"blocks.{b}.attn.pattern" for b in blocks]
    norms = [(f"blocks.{b}.resid_pre", f"blocks.{b}.attn.norm") for b in blocks]
    norms += [(f"blocks.{b}.resid_mid", f"blocks.{b}.mlp.norm") for b in blocks]
    norms += [(f"blocks.{blocks[-1]}.resid_post", "final_norm")]
    clean = subject.run(inputs, record=[*patterns, *(x for x, _ in norms)], logits="none")
    scales = [e for x, y in norms for e in hold_spread(subject, x, y, clean[x])]
    return [*(mt.freeze(p, clean) for p in patterns), *scales]


def count(subject: mt.Subject, call: Any) -> tuple[int, Any]:
    """Forward and backward passes through the first block during a call, and what it gave."""
    passes = [0]
    block = subject.module.get_submodule(subject.trunks[0].blocks)[0]  # type: ignore[index]

    def forward(_module: Any, _args: Any, output: Any) -> None:
        passes[0] += 1
        tensor = output if isinstance(output, torch.Tensor) else output[0]
        if tensor.requires_grad:
            tensor.register_hook(lambda _: passes.__setitem__(0, passes[0] + 1))

    handle = block.register_forward_hook(forward)
    try:
        given = call()
    finally:
        handle.remove()
    return passes[0], given

"""Zhang & Nanda (2024), Best Practices of Activation Patching: the metric and the corruption decide what is found.

A hand-wired recall model has a positive and a negative head, a redundant pair, and a head that reads nothing but the
norm of the subject's embedding. Logit difference with replaced tokens finds the first two with their signs; probability
hides the negative head; Gaussian noise invents the norm head; patching two layers together is not the sum of the two.
Nulls: the thirteen noise heads, the other corruption, and a pair of layers that are not redundant. A head is detected
when its effect is more than two standard deviations from the mean effect, as in the paper.

https://arxiv.org/abs/2309.16042
"""

import warnings
from dataclasses import replace

import numpy as np

import microtome as mt
from microtome.errors import Degenerate, ShapeError
from microtome.replicate import Claim
from microtome.trace import Node, PatchingPractice, activation_patching

CATALOG = ("trace", 108)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 60
METHODS = ("microtome.trace.activation_patching", "microtome.trace.effects", "microtome.organisms.compiled.patching")
PROMPTS = 96
NO_NULL = "that a call is refused is not a statistic"

CLAIMS = [
    Claim("logit difference finds the positive head", "positive", 0.2, null="noise_largest"),
    Claim("logit difference finds the negative head, with its sign", "negative", -0.2, "<=", null="noise_smallest"),
    Claim("probability hides the negative head", "negative_by_probability", 0.02, "<=", null="positive_by_probability"),
    Claim("Gaussian noise flags the norm head (SD from the mean)", "norm_under_noise", 2.0, null="norm_under_replacement"),
    Claim("a window of two redundant layers is not their sum", "window_gap", 0.2, null="window_gap_of_others"),
    Claim("noise, probability and an undone task each warn", "warnings", 3, null="warnings_of_good_practice"),
    Claim("no difference to explain, and unequal lengths, are refused", "refusals", 2, no_null=NO_NULL),
]


def run(seed: int) -> dict[str, float]:
    """Effects of all heads under each practice."""
    subject = mt.load("organism:compiled-patching")
    task, truth = subject.organism.examples(PROMPTS, seed), subject.organism.truth
    at = {h.role: [i for i, o in enumerate(truth.heads) if o.role == h.role] for h in truth.heads}
    role = {name: places[0] for name, places in at.items() if name != "noise"}

    def heads(**options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PatchingPractice)
            return activation_patching(subject, task, nodes="head", seed=seed, **options).effect

    best, probability = heads(), heads(metric="probability")
    noise = heads(corruption="noise", role="subject")
    return {
        "positive": best[role["positive"]], "negative": best[role["negative"]],
        "noise_largest": best[at["noise"]].max(), "noise_smallest": best[at["noise"]].min(),
        "negative_by_probability": abs(probability[role["negative"]]),
        "positive_by_probability": abs(probability[role["positive"]]),
        "norm_under_noise": deviation(noise, role["norm"]), "norm_under_replacement": deviation(best, role["norm"]),
        "window_gap": window_gap(subject, task, (1, 2)), "window_gap_of_others": window_gap(subject, task, (0, 1)),
        "warnings": warned(subject, task, corruption="noise") + warned(subject, task, metric="probability")
        + warned(subject, replace(task, clean=task.corrupt, corrupt=task.clean, roles={})),
        "warnings_of_good_practice": warned(subject, task),
        "refusals": refused(subject, replace(task, corrupt=task.clean), Degenerate)
        + refused(subject, replace(task, corrupt=[f"{text} is" for text in task.corrupt]), ShapeError),
    }  # fmt: skip


def deviation(effects: np.ndarray, head: int) -> float:
    """Standard deviations of a head's effect from the mean effect."""
    return float(abs(effects[head] - effects.mean()) / effects.std())


def window_gap(subject: mt.Subject, task: mt.Task, blocks: tuple[int, int]) -> float:
    """Effect of two adjacent attention layers patched together, less the sum of their effects."""
    layers = [Node(f"blocks.{b}.attn.z") for b in blocks]
    single, joint = (activation_patching(subject, task, nodes=layers, window=w).effect for w in (1, 2))
    return abs(float(joint[0] - single.sum()))


def warned(subject: mt.Subject, task: mt.Task, **options) -> int:
    """Whether the call warns."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        activation_patching(subject, task, nodes="head", **options)
    return int(any(issubclass(w.category, PatchingPractice) for w in heard))


def refused(subject: mt.Subject, task: mt.Task, error: type[Exception]) -> int:
    """Whether the call raises this error."""
    try:
        activation_patching(subject, task, nodes="head")
    except error:
        return 1
    return 0

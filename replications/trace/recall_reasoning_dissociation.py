"""Fartale et al. (2025), Disentangling Recall and Reasoning: two sets of parts, each needed by one ability only.

In the language organism, recall ("rome is in" -> italy, stored in the weights) and inference from the context (which of
several people holds what was asked for) are both done without error, so their difficulty is matched. On one half of the
prompts `dissociation` grows a set of at most three heads and MLPs for each; on the other half, mean-ablating a set lowers
its own task and spares the other. Nulls: pairs of random sets, the same pipeline on a twin with re-drawn weights, and
recall of stored facts against two hops over stored facts, which the organism has memorised too and does with the same parts.

The seeds draw prompts, the split and the random sets; the network is one. In-context binding stands for the paper's puzzles,
which are not public. Sorting single nodes by selectivity, as the paper's abstract suggests, gave sets that hurt both tasks
(heads of block 0 serve both); growing the set did not. Three-layer networks trained on the spot on facts and two-hop chains
learned the facts but not the chains within the budget.

https://arxiv.org/abs/2510.03366
"""

import numpy as np

import microtome as mt
from microtome.replicate import Claim
from microtome.trace import dissociation

CATALOG = ("trace", 13)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 120
METHODS = ("microtome.trace.dissociation", "microtome.trace.knockout", "microtome.trace.drawn")
PROMPTS = 80

CLAIMS = [
    Claim("recall without the recall set: accuracy lost", "recall_lost", 0.15, null="recall_lost_in_twin"),
    Claim("recall without the inference set: accuracy lost", "recall_spared", 0.05, "<=", null="recall_lost"),
    Claim("inference without the inference set: accuracy lost", "inference_lost", 0.15, null="inference_lost_in_twin"),
    Claim("inference without the recall set: accuracy lost", "inference_spared", 0.05, "<=", null="inference_lost"),
    Claim("smaller interaction less the 95th percentile of random sets", "over_random", 0.1, null="over_random_in_twin"),
    Claim("p of the dissociation against random sets", "p", 0.05, "<=", null="p_in_twin"),
    Claim("two kinds of stored facts are not dissociated: smaller interaction", "stored_facts", 0.15, "<=",
          null="interaction"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Both tasks in the organism and in its twin, and two tasks of one ability."""
    subject = mt.load("organism:language")
    found = dissociated(subject, "entity_binding", seed, 99)
    twin = dissociated(subject.twin(seed=seed), "entity_binding", seed, 39)
    c, t = found.controls, twin.controls
    return {
        "recall_lost": c["first set, first task"], "recall_spared": c["second set, first task"],
        "inference_lost": c["second set, second task"], "inference_spared": c["first set, second task"],
        "recall_lost_in_twin": t["first set, first task"], "inference_lost_in_twin": t["second set, second task"],
        "interaction": found.estimate.value, "over_random": over_random(found), "over_random_in_twin": over_random(twin),
        "p": found.nulls[0].p, "p_in_twin": twin.nulls[0].p,
        "stored_facts": dissociated(subject, "two_hop", seed, 39).estimate.value,
        "accuracy_recall": c["accuracy on the first task"], "accuracy_inference": c["accuracy on the second task"],
    }  # fmt: skip


def dissociated(subject: mt.Subject, other: str, seed: int, draws: int):
    """The finding on stored facts against another behaviour of the organism."""
    truth = subject.organism.truth
    return dissociation(subject, truth.task("facts", PROMPTS, seed), truth.task(other, PROMPTS, seed), draws=draws, seed=seed)


def over_random(found) -> float:
    """The smaller interaction less the 95th percentile of the random sets."""
    return found.estimate.value - float(np.percentile(found.nulls[0].statistics, 95))

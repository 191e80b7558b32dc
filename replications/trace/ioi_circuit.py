"""Wang et al. (2022), Interpretability in the Wild: the circuit for indirect objects, and how it is judged.

On a hand-wired model (two upstream heads, two movers, a negative mover, a backup mover that is off until a mover fails,
six noise heads): path patching to the logits and then to the queries and keys of what it found recovers the circuit but
the backup; that circuit is faithful, and not complete; with the backup it is complete; minimality tells a noise head that
was added. Nulls: a twin with shuffled weights, random circuits of equal size, and for each judgement the circuit that
must fail it.

On the language organism, which learned indirect objects from text: three of its sixteen heads, found on half of the
prompts, keep most of the behaviour on the other half; random threes do not on average (some do: they hold the one head
that nothing works without).

https://arxiv.org/abs/2211.00593
"""

import numpy as np

import microtome as mt
from microtome.errors import Degenerate
from microtome.replicate import Claim
from microtome.trace import Circuit, Node, activation_patching, completeness, faithfulness, minimality, nodes, path_patching

CATALOG = ("trace", 66)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 240
METHODS = (
    "microtome.trace.path_patching", "microtome.trace.edges", "microtome.trace.faithfulness", "microtome.trace.completeness",
    "microtome.trace.minimality", "microtome.trace.knockout", "microtome.organisms.compiled.ioi",
)  # fmt: skip
PROMPTS = 96
#: Share of the clean-corrupt difference that a head must carry along a direct path to be in the circuit.
FOUND = 0.05
#: Heads of the circuit in the language organism, of 16.
SIZE = 3

CLAIMS = [
    Claim("path patching recovers the circuit but the backup (F1)", "f1", 1.0, null="f1_in_twin"),
    Claim("the circuit without the backup is faithful", "faithful", 0.95, null="faithful_random"),
    Claim("random circuits of equal size are not", "faithful_random", 0.3, "<=", null="faithful"),
    Claim("it is not complete: some part of it shows a gap", "gap_without_backup", 0.3, null="gap_with_backup"),
    Claim("a greedy search finds such a part", "gap_greedy", 0.3, null="gap_with_backup"),
    Claim("with the backup it is complete", "gap_with_backup", 0.05, "<=", null="gap_without_backup"),
    Claim("every head of the circuit is needed", "least_needed", 0.1, null="noise_head"),
    Claim("an added noise head is redundant", "noise_head", 0.02, "<=", null="least_needed"),
    Claim("in a trained language model three heads keep the behaviour", "trained_faithful", 0.75, null="trained_random"),
]


def run(seed: int) -> dict[str, float]:
    """Find the circuit and judge it, with and without the backup."""
    subject = mt.load("organism:compiled-ioi")
    task, truth = subject.organism.examples(PROMPTS, seed), subject.organism.truth
    heads = nodes(subject, "head")
    place = {(n.layer, n.head): n for n in heads}
    planted = {place[h.layer, h.head] for h in truth.circuit if h.role != "backup mover"}
    backup, noise = (place[truth.of(role)[0]] for role in ("backup mover", "noise"))
    found, in_twin = traced(subject, task), traced(subject.twin("weight_shuffle", seed=seed), task)
    naive = Circuit(tuple(sorted(found)), tuple(heads), task=task.name, subject=subject.fingerprint())
    whole = naive.plus([backup])
    card = faithfulness(subject, task, naive, ablations=["mean"], seed=seed)
    gaps = {c: completeness(subject, task, c, random=1, seed=seed) for c in (naive, whole)}
    needed = minimality(subject, task, whole.plus([noise]), seed=seed).table.set_index("node")["score"]
    greedy = gaps[naive].table.set_index("found_by")["gap"]["greedy"]
    return {
        "f1": f1(found, planted), "f1_in_twin": f1(in_twin, planted),
        "faithful": card.estimate.value, "faithful_random": float(np.mean(card.nulls[0].statistics)),
        "gap_without_backup": gaps[naive].estimate.value, "gap_greedy": greedy,
        "gap_with_backup": gaps[whole].estimate.value,
        "least_needed": min(needed[str(n)] for n in whole.nodes), "noise_head": abs(needed[str(noise)]),
        "random_above_naive": float(card.nulls[0].p), **trained(seed),
    }  # fmt: skip


def trained(seed: int) -> dict[str, float]:
    """A circuit in the language organism: found by patching on half of the prompts, judged on the other half."""
    subject = mt.load("organism:language")
    found, held = subject.organism.truth.task("ioi", PROMPTS, seed).split(seed)
    circuit = Circuit.of_effects(activation_patching(subject, found, nodes="head", seed=seed), SIZE)
    card = faithfulness(subject, held, circuit, ablations=["mean"], random=19, seed=seed)
    return {"trained_faithful": card.estimate.value, "trained_random": float(np.mean(card.nulls[0].statistics))}


def traced(subject: mt.Subject, task: mt.Task) -> set[Node]:
    """Heads on direct paths to the logits, and heads on direct paths to the queries, keys and values of those."""
    try:
        last = above(path_patching(subject, task))
        receivers = [Node(n.site.replace("attn.z", f"attn.{part}"), head=n.head) for n in last for part in "qkv"]
        return last | set().union(*(above(path_patching(subject, task, receivers=[r])) for r in receivers))
    except Degenerate:  # the twin's answers do not depend on the names
        return set()


def above(effects: mt.trace.Effects) -> set[Node]:
    """Heads that carry more than `FOUND`."""
    return {n for n, e in zip(effects.nodes, effects.effect) if abs(e) > FOUND}


def f1(found: set[Node], planted: set[Node]) -> float:
    """Harmonic mean of precision and recall."""
    return 2 * len(found & planted) / (len(found) + len(planted))

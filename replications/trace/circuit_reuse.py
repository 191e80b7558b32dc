"""Merullo, Eickhoff & Pavlick (2024), Circuit Component Reuse: two tasks share heads, and corrected attention repairs one.

Tasks of the language organism: which of several people holds a thing (A), which of several things has a colour (B, another
format of looking up what was said), and two-digit sums (C, unrelated). Circuits: heads by their effect when the
counterfactual's value is put in (noising). A and B share theirs at every threshold beyond random sets, A and C do not.
Repair: when the thing asked for was never mentioned, B fails; giving the heads that A and B share the attention that they
have on the intact prompt repairs many prompts, other heads hardly any.

What does not hold: that A's four heads alone, all others knocked out, keep at least 15% of B's behaviour on every seed. They
kept 25 to 46% on the five seeds of the calibration and 14 to 17% on those reported, C's heads 1 to 4%; the threshold stayed.
Sharing heads is not sharing the circuit: B needs more than the heads that lead in both.

The paper traces direct paths in GPT-2 Medium; sixteen heads of a small model are scored by total effects here. The donors of
attention are intact prompts of B, since prompts of A have another layout. Seeds draw prompts; the network is one.

https://arxiv.org/abs/2310.08744
"""

from dataclasses import replace

import numpy as np

import microtome as mt
from microtome.replicate import Claim
from microtome.rng import rng
from microtome.stimuli.language.lexicon import OBJECTS
from microtome.trace import Circuit, activation_patching, attention_transplant, circuit_overlap, faithfulness

CATALOG = ("trace", 21)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 120
METHODS = ("microtome.trace.circuit_overlap", "microtome.trace.attention_transplant", "microtome.trace.activation_patching",
           "microtome.trace.faithfulness")  # fmt: skip
PROMPTS, SIZE, FIRST = 60, 4, 3
TASKS = ("entity_binding", "coloured_objects", "arithmetic")

CLAIMS = [
    Claim("overlap of A and B above chance, less that of A and C", "gap", 0.3, null="chance"),
    Claim("hypergeometric p of the overlap of the first three heads of A and B", "p", 0.01, "<=", null="p_unrelated"),
    Claim("share of B's behaviour that A's four heads keep alone", "kept_by_a", 0.15, null="kept_by_c"),
    Claim("accuracy gained by transplanting the attention of the shared heads", "gain", 0.2, null="gain_of_random"),
    Claim("accuracy gained with as many other heads", "gain_of_random", 0.1, "<=", null="gain"),
    Claim("p of the gain against random sets of other heads", "gain_p", 0.05, "<=", null="gain_p_in_twin"),
]


def run(seed: int) -> dict[str, float]:
    """Circuits of the three tasks, their overlaps, and the repair of the second."""
    subject = mt.load("organism:language")
    tasks = [subject.organism.truth.task(name, PROMPTS, seed) for name in TASKS]
    effects = [activation_patching(subject, t, nodes="head", direction="noising", seed=seed) for t in tasks]
    related, unrelated = (circuit_overlap(effects[0], e, draws=499, seed=seed) for e in effects[1:])
    kept = {name: faithfulness(subject, tasks[1], Circuit.of_effects(e, SIZE), random=1, seed=seed).estimate.value
            for name, e in zip("ac", (effects[0], effects[2]))}  # fmt: skip
    shared = [n for n in effects[0].top(SIZE) if n in effects[1].top(SIZE)]
    failing = unmentioned(tasks[1], seed)
    repaired, in_twin = (
        attention_transplant(s, failing, shared, draws=60, seed=seed) for s in (subject, subject.twin(seed=seed))
    )
    at = [f.table.set_index("size").loc[FIRST, "p"] for f in (related, unrelated)]
    return {
        "gap": related.estimate.value - unrelated.estimate.value,
        "chance": float(np.percentile(related.nulls[0].statistics, 95)), "p": at[0], "p_unrelated": at[1],
        "kept_by_a": kept["a"], "kept_by_c": kept["c"], "gain": repaired.estimate.value,
        "gain_of_random": repaired.controls["mean gain of random heads"], "gain_p": repaired.nulls[0].p,
        "gain_p_in_twin": in_twin.nulls[0].p, "shared_heads": len(shared), "excess_related": related.estimate.value,
        "excess_unrelated": unrelated.estimate.value, "accuracy_failing": repaired.controls["accuracy on corrupt"],
        "accuracy_intact": repaired.controls["accuracy on clean"],
    }  # fmt: skip


def unmentioned(task: mt.Task, seed: int) -> mt.Task:
    """The task with corrupt prompts that ask for a thing which was not mentioned."""
    stream = rng(seed, "unmentioned")

    def asked(text: str, place: tuple[int, ...]) -> str:
        absent = [o for o in OBJECTS if o not in text.split()]
        return text[: place[0]] + absent[int(stream.integers(len(absent)))] + text[place[1] :]

    return replace(task, corrupt=[asked(text, place) for text, place in zip(task.clean, task.roles["asked"])])

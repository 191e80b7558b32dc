"""Geiger et al. (2023), Finding Alignments Between Interpretable Causal Variables and Distributed Neural Representations.

Hierarchical equality: do the first two of four random vectors agree just as the last two do? A ReLU network of three
layers of 32 learns it (1.5 million vectors). A rotation of the second layer before its ReLU (the best layer), half of the
coordinates for "the first two are equal" and half for "the last two are", is fitted on 5,000 pairs and judged on 1,000
fresh ones, balanced on which variables are interchanged, on labels and on whether the answer changes; no choice of neurons
does as well, random rotations and the same fit on a re-drawn network or on labels dealt out anew do not. Where the
variables are written on neurons by hand (|a - b| thresholded), the neurons themselves are an exact alignment.

Limits: a toy; localist search tries side-by-side and greedily ranked blocks, not all 32-choose-16; deeper layers hold the
two variables no longer apart (`second_layer`).

https://arxiv.org/abs/2303.02536
"""

import torch

import microtome as mt
from microtome.organisms.small import fit_classes, perceptron
from microtome.replicate import Claim
from microtome.stimuli.equality import equality_examples, equality_pairs, equality_thresholds
from microtome.trace import AlignedLinear, das, interchange, localist_search

CATALOG = ("trace", 191)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 180
METHODS = (
    "microtome.trace.das", "microtome.trace.interchange", "microtome.trace.localist_search", "microtome.trace.alignment.maps",
    "microtome.trace.alignment.fit", "microtome.trace.alignment.suffix", "microtome.stimuli.interchange_sampler",
)  # fmt: skip
WIDTH, HALF, SITE = 32, 16, "2"

CLAIMS = [
    Claim("the network does the task on fresh vectors", "accuracy", 0.97, null="accuracy_untrained"),
    Claim("DAS: accuracy of the network minus IIA of both variables, fresh pairs", "shortfall", 0.05, "<=",
          null="shortfall_random"),
    Claim("DAS over the best assignment of neurons found", "over_neurons", 0.05, null="random_over_neurons"),
    Claim("random rotations do not align", "random", 0.75, "<=", null="iia"),
    Claim("nor does the same fit on a re-drawn network", "untrained", 0.70, "<=", null="iia"),
    Claim("nor one on labels dealt out anew: distance from one half", "shuffled_off_chance", 0.05, "<=", null="das_off_chance"),
    Claim("columns stay orthonormal", "orthonormality", 1e-5, "<=", null="orthonormality_without"),
    Claim("variables written on neurons: the neurons are an exact alignment", "by_hand", 1.0, null="by_hand_wrong"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Train, align, and judge on fresh pairs beside the nulls."""
    module = perceptron([16, WIDTH, WIDTH, WIDTH, 2], seed=seed)
    fit_classes(module, lambda step: equality_examples(1024, 100_000 * (seed + 1) + step), 1500, weight_decay=0.1)
    subject = mt.Subject(module)
    twin = subject.twin(seed=seed)
    known, fresh = equality_pairs(5000, seed), equality_pairs(1000, 1000 + seed)
    settings = {"size": HALF, "steps": 1000, "batch": 256, "seed": seed}
    basis = das(subject, known, site=SITE, **settings)
    found = interchange(subject, fresh, basis, seed=seed)
    iia, random = found.estimate.value, float(found.nulls[0].statistics.mean())
    neurons = judged(subject, localist_search(subject, known[:1000], site=SITE, size=HALF), fresh)
    shuffled = judged(subject, das(subject, known.shuffled(seed), site=SITE, **settings), fresh.shuffled(seed))
    gram = basis.encoder.T @ basis.encoder
    return {
        "accuracy": accuracy(subject, seed), "accuracy_untrained": accuracy(twin, seed), "iia": iia,
        "shortfall": accuracy(subject, seed) - iia, "shortfall_random": accuracy(subject, seed) - random,
        "neurons": neurons, "over_neurons": iia - neurons, "random_over_neurons": random - neurons, "random": random,
        "untrained": judged(twin, das(twin, known, site=SITE, **settings), fresh),
        "shuffled_off_chance": abs(shuffled - 0.5), "das_off_chance": abs(iia - 0.5),
        "orthonormality": float((gram - torch.eye(len(gram))).abs().max()),
        "orthonormality_without": float((torch.full((32, 32), 1 / 32) - torch.eye(32)).abs().max()),
        "second_layer": judged(subject, das(subject, known, site="3", **settings), fresh), **written(fresh),
        "unedited": found.controls["unedited output"], "majority": found.controls["majority label"],
    }  # fmt: skip


def judged(subject: mt.Subject, basis: AlignedLinear, pairs: mt.stimuli.Interchanges) -> float:
    """IIA on pairs."""
    return interchange(subject, pairs, basis, random=1).estimate.value


def accuracy(subject: mt.Subject, seed: int) -> float:
    """Share of 10,000 fresh vectors that the network gets right."""
    inputs, labels = equality_examples(10_000, 900_000 + seed)
    return float((subject.run(inputs).logits.argmax(-1) == labels).float().mean())


def written(pairs: mt.stimuli.Interchanges) -> dict[str, float]:
    """The network whose second layer holds "different" of both sides on two neurons each, aligned as written and crossed."""
    subject, eye = mt.Subject(equality_thresholds()), torch.eye(4)
    blocks = {"left": [0, 1], "right": [2, 3]}
    crossed = {"left": [0, 2], "right": [1, 3]}
    return {name: judged(subject, AlignedLinear("3", eye, chosen, decoder=eye), pairs)
            for name, chosen in (("by_hand", blocks), ("by_hand_wrong", crossed))}  # fmt: skip

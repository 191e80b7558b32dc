"""Wu et al. (2023), Interpretability at Scale: boundless DAS learns how many rotated coordinates a variable takes.

Hierarchical equality (see `das`): "are the first two vectors equal" in the second layer of 32 units before its ReLU (the
layer that `das` aligns best; after the first layer's ReLU the accuracy was .91). The block starts at half of the site and is
made narrower by the penalty; it is judged with the HARD mask on 1,000 fresh balanced pairs. A fixed random rotation of that
width, the same procedure on a re-drawn network, and a hypothesis that is wrong (the sign of the first input alone decides)
stay behind. Without a penalty the block is wider.

Limits: a toy in place of Alpaca; the wrong hypothesis is judged on its own balanced pairs.

https://arxiv.org/abs/2305.08809
"""

import torch

import microtome as mt
from microtome.organisms.small import fit_classes, perceptron
from microtome.replicate import Claim
from microtome.stimuli import CausalModel, interchanges
from microtome.stimuli.equality import equality_examples, equality_pairs
from microtome.trace import boundless_das, interchange

CATALOG = ("trace", 152)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 180
METHODS = (
    "microtome.trace.boundless_das", "microtome.trace.interchange", "microtome.trace.alignment.maps",
    "microtome.trace.alignment.fit", "microtome.trace.alignment.suffix", "microtome.stimuli.interchange_sampler",
)  # fmt: skip
WIDTH, SITE, SETTINGS = 32, "2", {"steps": 1000, "batch": 256}

CLAIMS = [
    Claim("accuracy of the network minus IIA with the hard mask, fresh pairs", "shortfall", 0.05, "<=",
          null="shortfall_random"),
    Claim("learned width as a share of the site", "width", 0.6, "<=", null="whole_site"),
    Claim("the penalty makes it narrower: width without it minus width with it", "narrower", 0.0, null="whole_narrower"),
    Claim("gap of soft and hard accuracy at the end of annealing", "softness", 0.02, "<=", null="softness_hot"),
    Claim("a fixed random rotation of that width does not align", "random", 0.70, "<=", null="iia"),
    Claim("nor does the same procedure on a re-drawn network", "untrained", 0.65, "<=", null="iia"),
    Claim("a wrong hypothesis (the first input alone) stays behind by", "over_wrong", 0.15, null="over_itself"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Train, align, and judge beside the nulls."""
    module = perceptron([16, WIDTH, WIDTH, WIDTH, 2], seed=seed)
    fit_classes(module, lambda step: equality_examples(1024, 100_000 * (seed + 1) + step), 1500, weight_decay=0.1)
    subject = mt.Subject(module)
    twin = subject.twin(seed=seed)
    known, fresh = equality_pairs(5000, seed, ("left",)), equality_pairs(1000, 1000 + seed, ("left",))
    basis = boundless_das(subject, known, site=SITE, seed=seed, **SETTINGS)
    free = boundless_das(subject, known, site=SITE, penalty=0.0, seed=seed, **SETTINGS)
    found = interchange(subject, fresh, basis, seed=seed)
    iia, random = found.estimate.value, float(found.nulls[0].statistics.mean())
    wrong = interchange(subject, first_alone(1000, 1000 + seed), boundless_das(
        subject, first_alone(5000, seed), site=SITE, seed=seed, **SETTINGS), random=1, seed=seed).estimate.value  # fmt: skip
    untrained = interchange(twin, fresh, boundless_das(twin, known, site=SITE, seed=seed, **SETTINGS), random=1)
    inputs, labels = equality_examples(10_000, 900_000 + seed)
    accuracy = float((subject.run(inputs).logits.argmax(-1) == labels).float().mean())
    width = basis.metrics["width"] / WIDTH
    return {
        "accuracy": accuracy, "iia": iia, "shortfall": accuracy - iia, "shortfall_random": accuracy - random, "random": random,
        "width": width, "whole_site": 1.0, "narrower": free.metrics["width"] / WIDTH - width, "whole_narrower": width - 1.0,
        "softness": abs(basis.metrics["soft_iia"] - basis.metrics["train_iia"]),
        "softness_hot": abs(basis.metrics["hot_iia"] - basis.metrics["train_iia"]), "untrained": untrained.estimate.value,
        "over_wrong": iia - wrong, "over_itself": 0.0, "wrong": wrong, "width_free": free.metrics["width"] / WIDTH,
    }  # fmt: skip


def first_alone(n: int, seed: int) -> mt.stimuli.Interchanges:
    """Pairs of a hypothesis that is wrong: the answer is whether the first number of the first vector is positive."""
    model = CausalModel(["a", "positive", "out"], {"a": [0, 1]}, {"positive": ["a"], "out": ["positive"]},
                        {"positive": lambda a: a == 1, "out": lambda p: p})  # fmt: skip

    def render(settings: list[dict], where: int) -> torch.Tensor:
        vectors = equality_examples(len(settings), where)[0]
        equal = (vectors[:, :4] == vectors[:, 4:8]).all(1)
        vectors[:, 0] = vectors[:, 0].abs() * (2 * torch.tensor([s["a"] for s in settings]) - 1)
        vectors[equal, 4] = vectors[equal, 0]
        return vectors

    return interchanges(model, n, render, lambda s: int(s["out"]), variables=("positive",), name="first input", seed=seed)

"""Alleman et al. (2024), Task structure and nonlinearity jointly determine learned representational geometry.

Eight conditions of three bits, each at a random place of 50 inputs with noise; the targets are two of the bits. Networks of
one hidden layer start small (rich regime). Tanh networks take on the geometry of the targets, ReLU networks keep more of
the inputs': T = CKA(hidden, targets) - CKA(hidden, inputs), debiased, on fresh samples. Nulls: the difference between the
two untrained networks, and the stated limit: from large weights (lazy regime) the difference is small or reversed.
Report card of both: abstraction of a target (CCGP), dimensions filled, splits separated.

https://arxiv.org/abs/2401.13558
"""

import torch
from torch import Tensor, nn

from microtome.decompose.alignment import cka
from microtome.decompose.representation import ccgp, parallelism, participation_ratio, shattering
from microtome.organisms.fit import fit
from microtome.organisms.small import perceptron
from microtome.replicate import Claim
from microtome.stimuli.algorithmic import conditions

CATALOG = ("decompose", 279)
SEEDS = (0, 1, 2, 3, 4)
BUDGET_SECONDS = 60
METHODS = ("microtome.decompose.alignment", "microtome.decompose.representation",
           "microtome.stimuli.algorithmic.conditions")  # fmt: skip
HIDDEN, STEPS, SMALL, LARGE = 100, 600, 0.1, 10.0
ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}

CLAIMS = [
    Claim("T of the tanh network exceeds that of the ReLU network", "difference", 0.15, null="untrained_difference"),
    Claim("the hidden layer of the tanh network mirrors the targets (CKA)", "tanh_target", 0.95, null="untrained_target"),
    Claim("both are right on fresh samples", "least_accuracy", 0.99, null="untrained_accuracy"),
    Claim("started large, the difference is at most half as large", "large_start_share", 0.5, "<=", null="small_start_share"),
]


def run(seed: int) -> dict[str, float]:
    """Train both networks from small and from large weights."""
    shown, fresh = (conditions(n, seed, draw=d) for n, d in ((256, 0), (400, 1)))
    out: dict[str, float] = {}
    for name, activation in ACTIVATIONS.items():
        for start, scale in {"": SMALL, "large_": LARGE}.items():
            module = perceptron([50, HIDDEN, 2], activation=activation, seed=seed)
            with torch.no_grad():
                for p in module.parameters():
                    p.mul_(scale)
            if not start:
                out |= {f"untrained_{k}": v for k, v in card(module, fresh, name).items()}
            train(module, shown)
            out |= {f"{start}{k}": v for k, v in card(module, fresh, name).items()}
    difference = {k: out[f"{k}tanh_T"] - out[f"{k}relu_T"] for k in ("", "large_", "untrained_")}
    return out | {
        "difference": difference[""], "untrained_difference": difference["untrained_"],
        "large_difference": difference["large_"],
        "large_start_share": difference["large_"] / difference[""], "small_start_share": 1.0,
        "untrained_target": out["untrained_tanh_target"],
        "least_accuracy": min(out["tanh_accuracy"], out["relu_accuracy"]),
        "untrained_accuracy": max(out["untrained_tanh_accuracy"], out["untrained_relu_accuracy"]),
    }  # fmt: skip


def train(module: nn.Module, samples) -> None:
    """Logistic loss on both targets."""
    y = targets(samples)
    loss = nn.functional.binary_cross_entropy_with_logits
    fit(module, lambda _: loss(module(samples.inputs), y), STEPS, lr=5e-3, weight_decay=0.0)


def targets(samples) -> Tensor:
    """Two of the three bits."""
    return torch.tensor(samples.table[["bit0", "bit1"]].to_numpy(), dtype=torch.float32)


@torch.no_grad()
def card(module: nn.Module, samples, name: str) -> dict[str, float]:
    """Geometry of the hidden layer on samples."""
    assert isinstance(module, nn.Sequential)
    h, y = module[1](module[0](samples.inputs)), targets(samples)
    bits = torch.tensor(samples.table[["bit0", "bit1", "bit2"]].to_numpy())
    target, given = cka(h, y), cka(h, samples.inputs)
    return {
        f"{name}_T": target - given, f"{name}_target": target, f"{name}_input": given,
        f"{name}_accuracy": float(((module(samples.inputs) > 0) == (y > 0)).float().mean()),
        f"{name}_ccgp": ccgp(h, bits, 0), f"{name}_parallelism": parallelism(h, bits, 0),
        f"{name}_dimensions": participation_ratio(h), f"{name}_shattering": shattering(h, bits),
    }  # fmt: skip

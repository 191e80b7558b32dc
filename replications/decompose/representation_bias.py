"""Lampinen, Chan, Hermann (2024), Learned feature representations are biased by complexity, learning order, position, and more.

A network must output two independent features of 24 random bits, both to (near) perfection: the first bit (easy) and the
parity of three others (hard). The easy one takes many times more of the variance of the last hidden layer. Controls: two
easy features share evenly; training on the hard one first narrows the gap; an unrelated label explains nothing. And the
representation looks like one of the easy feature alone (CKA with the label), though both are computed. Compared with trained
networks for one feature each, it is more like that for the hard one, which shares its intermediate products
(`network_likeness`, without a claim).

Squared error. With the logistic loss and as few steps the gap is smaller (one seed, tried before: 1.4), and it widens to 16
when the hard feature came first, against the claim: a feature whose loss has saturated gets no more variance.

https://arxiv.org/abs/2405.05847
"""

from copy import deepcopy

import torch
from torch import Tensor, nn

from microtome.decompose.alignment import cka
from microtome.decompose.representation import variance_explained
from microtome.organisms.fit import fit
from microtome.organisms.small import perceptron
from microtome.replicate import Claim
from microtome.rng import torch_rng
from microtome.stimuli.algorithmic import bit_strings

CATALOG = ("decompose", 32)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 60
METHODS = ("microtome.decompose.representation", "microtome.decompose.alignment",
           "microtome.stimuli.algorithmic.conditions")  # fmt: skip
BITS, WIDTH, STEPS, BATCH = 24, 128, 2000, 128

CLAIMS = [
    Claim("both features are computed (accuracy of the worse)", "worse_accuracy", 0.99, null="untrained_accuracy"),
    Claim("the easy feature holds several times the variance of the hard one", "ratio", 3.0, null="two_easy_ratio"),
    Claim("two easy features share evenly", "two_easy_ratio", 1.5, "<=", null="ratio"),
    Claim("an unrelated bit explains nothing", "unrelated", 0.005, "<=", null="hard"),
    Claim("learning the hard feature first narrows the gap (its ratio as a share of that after the easy one)",
          "hard_first_share", 0.95, "<=", null="same_order_share", over="median"),
    Claim("likeness to the easy feature alone exceeds that to the hard feature alone (CKA)", "easy_likeness", 0.2,
          null="two_easy_likeness"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Train on both features, on two easy ones, and on both after each of them alone."""
    x = bit_strings(2000, seed, bits=BITS, draw=1)
    easy, second, hard = labels(x).T
    untrained = network(seed)
    alone = {name: trained(network(seed), seed, name) for name in ("easy", "hard")}
    both = trained(network(seed), seed, "easy", "hard")
    two = hidden(trained(network(seed), seed, "easy", "second"), x)
    h, only = hidden(both, x), {name: hidden(module, x) for name, module in alone.items()}
    after = {name: hidden(trained(deepcopy(module), seed, "easy", "hard"), x) for name, module in alone.items()}
    ratios = {name: variance_explained(v, easy) / variance_explained(v, hard) for name, v in {"both": h, **after}.items()}
    pair = [variance_explained(two, easy), variance_explained(two, second)]
    return {
        "worse_accuracy": accuracy(both, x), "untrained_accuracy": accuracy(untrained, x),
        "easy": variance_explained(h, easy), "hard": variance_explained(h, hard),
        "ratio": ratios["both"], "two_easy_ratio": max(pair) / min(pair),
        "unrelated": variance_explained(h, bit_strings(2000, seed, bits=1, draw=2)[:, 0]),
        "hard_first_share": ratios["hard"] / ratios["easy"], "same_order_share": ratios["easy"] / ratios["easy"],
        "easy_likeness": cka(h, easy[:, None]) - cka(h, hard[:, None]),
        "two_easy_likeness": abs(cka(two, easy[:, None]) - cka(two, second[:, None])),
        "network_likeness": cka(h, only["easy"]) - cka(h, only["hard"]),
        "easy_first_ratio": ratios["easy"], "hard_first_ratio": ratios["hard"],
        "untrained_easy": variance_explained(hidden(untrained, x), easy),
        "untrained_hard": variance_explained(hidden(untrained, x), hard),
    }  # fmt: skip


def network(seed: int) -> nn.Sequential:
    """Two hidden layers of ReLUs and three outputs: easy, second, hard."""
    return perceptron([BITS, WIDTH, WIDTH, 3], seed=seed)


def trained(module: nn.Sequential, seed: int, *names: str) -> nn.Sequential:
    """Train on the named features, in place."""
    pool = bit_strings(20_000, seed, bits=BITS, draw=3)
    columns, wanted = [("easy", "second", "hard").index(name) for name in names], labels(pool)
    draw = torch_rng(seed, "batches", *names)

    def loss(_: int) -> Tensor:
        rows = torch.randint(0, len(pool), (BATCH,), generator=draw)
        return (module(pool[rows])[:, columns] - wanted[rows][:, columns]).square().mean()

    fit(module, loss, STEPS, lr=1e-3, weight_decay=0.0)
    return module


def labels(x: Tensor) -> Tensor:
    """Features -1 and 1: a bit, another bit, the parity of three."""
    return torch.stack([x[:, 0], x[:, 1], x[:, 2] * x[:, 3] * x[:, 4]], 1)


@torch.no_grad()
def hidden(module: nn.Sequential, x: Tensor) -> Tensor:
    """Last hidden layer."""
    return module[:4](x)


@torch.no_grad()
def accuracy(module: nn.Sequential, x: Tensor) -> float:
    """Accuracy on the worse of the two features."""
    hits = ((module(x) > 0) == (labels(x) > 0)).float().mean(0)
    return float(hits[[0, 2]].min())

"""Makelov et al. (2023), Is This the Subspace You Are Looking for? A patched direction can work by a dormant pathway.

Toy: h in 16 dimensions, W_out reads a direction t that carries x and a dormant direction d; a third, c, tracks x where
nothing is read. Patching (c + d) flips x as fully as patching t does; the part of it that W_out reads does nothing.

Trained: 1-D DAS on a perceptron that tells the sign of a sum. In its hidden layer, which it computes with, directions are
not flagged; in a dead copy of that layer (beside as many constant units that the next layer reads, so that there is
something dormant to write through) every direction that DAS finds is.

https://arxiv.org/abs/2311.17030
"""

import torch
from torch import nn

import microtome as mt
from microtome.organisms.small import fit_classes, perceptron
from microtome.replicate import Claim
from microtome.rng import torch_rng
from microtome.stimuli import Interchanges
from microtome.trace import AlignedLinear, das, subspace_illusion

CATALOG = ("trace", 45)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 120
METHODS = ("microtome.trace.subspace_illusion", "microtome.trace.das", "microtome.trace.alignment.suffix")
WIDTH, NETWORKS = 16, 10

CLAIMS = [
    Claim("toy: effect of the illusory direction", "toy_illusory", 0.95, null="toy_random"),
    Claim("toy: effect of the part of the illusory one that is read", "toy_illusory_row", 0.05, "<=", null="toy_true_row"),
    Claim("toy: it is flagged", "toy_illusory_flagged", 1.0, null="toy_true_flagged"),
    Claim("toy: effect of the true direction", "toy_true", 0.95, null="toy_random"),
    Claim("toy: effect of the part of the true one that is read", "toy_true_row", 0.95, null="toy_illusory_row"),
    Claim("DAS in a dead copy: share of directions flagged", "dead_flagged", 1.0, null="causal_flagged"),
    Claim("DAS in the causal layer: share of directions flagged", "causal_flagged", 0.1, "<=", null="dead_flagged"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """The toy, and directions found by DAS in layers that are used and in copies that are not."""
    found = {"toy_random": 0.0, **toy(seed)}
    flags = {"dead": [], "causal": []}
    effects = {"dead": [], "causal": []}
    for k in range(NETWORKS):
        one = 100 * seed + k
        net = perceptron([6, WIDTH, 2], seed=one)
        fit_classes(net, lambda step, one=one: labelled(256, 1000 * one + step), 300, lr=1e-2)
        for name, subject, site, readout in (("causal", mt.Subject(net), "1", "2"), ("dead", dead_copy(net, one), "1", "2")):
            basis = das(subject, pairs(one), site=site, size=1, steps=400, batch=128, lr=0.03, seed=one)
            judged = subspace_illusion(subject, pairs(one + 50), basis, readout=readout, seed=one)
            flags[name].append(judged.controls["flagged"])
            effects[name].append(judged.estimate.value)
    found |= {f"{name}_flagged": sum(f) / NETWORKS for name, f in flags.items()}
    return found | {f"{name}_effect": sum(e) / NETWORKS for name, e in effects.items()}


def toy(seed: int) -> dict[str, float]:
    """h = x t + x c + noise, y = [1, 2] . W_out h with W_out's rows t and d."""
    t, d, c, *_ = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch_rng(seed, "illusion toy")))[0].T
    net = nn.Sequential(nn.Identity(), nn.Linear(WIDTH, 2, bias=False), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        net[1].weight.copy_(torch.stack([t, d]))
        net[2].weight.copy_(torch.tensor([[1.0, 2.0], [-1.0, -2.0]]) / 2)
        # The part written through d counts twice: c + d moves d by half of what c moves.
    x = torch.randint(2, (2, 200), generator=torch_rng(seed, "illusion x")) * 2.0 - 1
    base, source = (v[:, None] * (t + c) for v in x)
    task = Interchanges("x", base, {"x": source}, (x[1] < 0).long(), (x[0] < 0).long())
    out = {}
    for name, v in (("illusory", (c + d) / 2**0.5), ("true", t)):
        judged = subspace_illusion(mt.Subject(net), task, AlignedLinear("0", v[:, None], {"x": [0]}), readout="1", seed=seed)
        out |= {f"toy_{name}": judged.estimate.value, f"toy_{name}_row": judged.controls["row part"],
                f"toy_{name}_flagged": judged.controls["flagged"]}  # fmt: skip
    return out | {"toy_random": float(abs(judged.nulls[0].statistics).mean())}


def labelled(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Six numbers and whether the first three sum to more than 0."""
    x = torch.randn(n, 6, generator=torch_rng(seed, "illusion data"))
    return x, (x[:, :3].sum(1) > 0).long()


def pairs(seed: int) -> Interchanges:
    """Bases and sources drawn independently."""
    (base, before), (source, labels) = labelled(1500, 10_000 + seed), labelled(1500, 20_000 + seed)
    return Interchanges("sign of the sum", base, {"sum": source}, labels, before)


def dead_copy(net: nn.Sequential, seed: int) -> mt.Subject:
    """Hidden layer = [dead copy of the hidden units, constant units]; the answer itself comes from a path beside it."""

    class Spliced(nn.Module):
        def __init__(self):
            super().__init__()
            self.config = {}
            self.net = net
            self.add_module("1", nn.Identity())
            self.add_module("2", nn.Linear(2 * WIDTH, 2, bias=False))
            read = torch.cat([torch.zeros(2, WIDTH), torch.randn(2, WIDTH, generator=torch_rng(seed, "dormant"))], 1)
            self.get_submodule("2").weight.data.copy_(read)

        def forward(self, x):
            hidden = self.net[1](self.net[0](x))
            spliced = self.get_submodule("1")(torch.cat([hidden, torch.full_like(hidden, 0.1)], 1))
            return self.net[2](hidden) + self.get_submodule("2")(spliced)

    return mt.Subject(Spliced())

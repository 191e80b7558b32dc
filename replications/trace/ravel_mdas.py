"""Huang et al. (2024), RAVEL: a subspace that carries one attribute of an entity and none of the others.

60 entities have three attributes of four values each, whose values go together more often than not, so that they entangle.
A ReLU network (entity and attribute asked, one-hot; hidden 64) answers all 180 prompts. At its first hidden layer before the
ReLU, where an entity is a vector, four dimensions are sought for each attribute on the pairs of 40 entities and judged on 20
others: by MDAS, which is trained to change the attribute and to leave the others, by DAS, which is trained to change it,
by the first four principal components, at random, and by taking the whole layer. Pairs differ in the attribute asked, so
that neither cause nor isolation comes by luck.

Limits: synthetic entities, a network of two layers; all entities were in the network's training, as in the paper. How well
DAS isolates varies from fit to fit: on seeds 0, 1, 2 the gain over a single fit was 0.13 to 0.28, but a second fit of DAS
gained 0.053 on one of them, as much as was asked. So the gain is taken over the mean of three fits, the null is the luckiest of
them, and other seeds are reported.

https://arxiv.org/abs/2402.17700
"""

import torch

import microtome as mt
from microtome.organisms.small import fit_classes, perceptron
from microtome.replicate import Claim
from microtome.rng import derive, torch_rng
from microtome.stimuli import Interchanges
from microtome.trace import AlignedLinear, das, disentanglement, mdas

CATALOG = ("trace", 1)
SEEDS = (3, 4, 5)
BUDGET_SECONDS = 60
METHODS = ("microtome.trace.mdas", "microtome.trace.das", "microtome.trace.alignment.maps", "microtome.trace.alignment.fit")
ENTITIES, KNOWN, VALUES, WIDTH, RANK, SITE, FITS = 60, 40, 4, 64, 4, "0", 3
ATTRIBUTES = ("country", "language", "continent")
SETTINGS = {"site": SITE, "size": RANK, "steps": 300, "batch": 128}

CLAIMS = [
    Claim("MDAS: disentanglement on entities held out, mean over attributes", "mdas", 0.80, null="random"),
    Claim("isolation of MDAS over the mean of three fits of DAS", "iso_over_das", 0.05, null="best_over_das"),
    Claim("a random subspace of equal rank", "random", 0.60, "<=", null="mdas"),
    Claim("the whole layer: cause", "whole_cause", 0.90, null="random_cause"),
    Claim("the whole layer: isolation", "whole_iso", 0.60, "<=", null="mdas_iso"),
]


def run(seed: int) -> dict[str, float]:
    """Train the network; find, and judge on other entities, a subspace for each attribute."""
    values = entities(seed)
    module = perceptron([ENTITIES + 3, WIDTH, WIDTH, 3 * VALUES], seed=seed)
    everyone, asked = (part.flatten() for part in torch.meshgrid(torch.arange(ENTITIES), torch.arange(3), indexing="ij"))
    inputs, answers = prompts(everyone, asked), asked * VALUES + values[everyone, asked]
    fit_classes(module, lambda step: (inputs, answers), 800, lr=1e-2, weight_decay=0.3)
    subject = mt.Subject(module)
    order = torch.randperm(ENTITIES, generator=torch_rng(seed, "ravel split"))
    h = subject.run(inputs, record=[SITE])[SITE]
    components = torch.linalg.svd(h - h.mean(0), full_matrices=False)[2][:RANK].T
    found: dict[str, list[float]] = {}
    for a, name in enumerate(ATTRIBUTES):
        known = pairs(values, a, order[:KNOWN], 4000, derive(seed, "known", a))
        held = pairs(values, a, order[KNOWN:], 2000, derive(seed, "held", a))
        cause = known[torch.tensor([kind == name for kind in known.kinds])]
        drawn = torch.linalg.qr(torch.randn(WIDTH, RANK, generator=torch_rng(seed, "ravel random", a)))[0]
        tried = {"mdas": mdas(subject, known, seed=seed, **SETTINGS), "pca": along(components, name),
                 "random": along(drawn, name), "whole": along(torch.eye(WIDTH), name)}  # fmt: skip
        tried |= {f"das_{k}": das(subject, cause, seed=seed + 500 * k, **SETTINGS) for k in range(FITS)}
        for how, basis in tried.items():
            judged = disentanglement(subject, held, basis, random=1, seed=seed)
            score = {how: judged.estimate.value, f"{how}_cause": judged.controls["cause"], f"{how}_iso": judged.controls["iso"],
                     f"{how}_low": judged.estimate.low, "counted": judged.controls["pairs counted"]}  # fmt: skip
            for key, value in score.items():
                found.setdefault(key, []).append(float(value))
    mean = {key: sum(each) / len(each) for key, each in found.items()}
    mean["accuracy"] = float((module(inputs).argmax(-1) == answers).float().mean())
    again = [mean[f"das_{k}_iso"] for k in range(FITS)]
    mean["iso_over_das"] = mean["mdas_iso"] - sum(again) / FITS
    mean["best_over_das"] = max(again) - sum(again) / FITS
    return mean


def entities(seed: int) -> torch.Tensor:
    """Values [entities, 3]; the second attribute goes with the first in half of the entities, the third with the second."""
    generator = torch_rng(seed, "ravel entities")
    values = torch.randint(VALUES, (ENTITIES, 3), generator=generator)
    for a in (1, 2):
        same = torch.rand(ENTITIES, generator=generator) < 0.5
        values[:, a] = torch.where(same, values[:, a - 1], values[:, a])
    return values


def prompts(entity: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
    """One-hot entity beside one-hot attribute asked."""
    one_hot = torch.nn.functional.one_hot
    return torch.cat([one_hot(entity, ENTITIES), one_hot(asked, 3)], 1).float()


def pairs(values: torch.Tensor, attribute: int, among: torch.Tensor, n: int, seed: int) -> Interchanges:
    """Bases and sources with another value of the attribute asked; the source's answer where `attribute` is asked."""
    generator = torch_rng(seed, "ravel pairs")
    base, source = among[torch.randint(len(among), (2, 4 * n), generator=generator)]
    asked = torch.randint(3, (4 * n,), generator=generator)
    rows = (values[base, asked] != values[source, asked]).nonzero().flatten()[:n]
    base, source, asked = base[rows], source[rows], asked[rows]
    before = asked * VALUES + values[base, asked]
    labels = torch.where(asked == attribute, asked * VALUES + values[source, asked], before)
    name = ATTRIBUTES[attribute]
    return Interchanges(name, prompts(base, asked), {name: prompts(source, asked)}, labels, before, groups=base.tolist(),
                        kinds=[ATTRIBUTES[a] for a in asked.tolist()])  # fmt: skip


def along(columns: torch.Tensor, name: str) -> AlignedLinear:
    """A given subspace as the alignment of an attribute."""
    return AlignedLinear(SITE, columns, {name: list(range(columns.shape[1]))}, decoder=columns.T.contiguous(), name="given")

"""Huang et al. (2025), Internal Causal Mechanisms Robustly Predict Language Model Out-of-Distribution Behaviors.

Two prices, each with its limit, every number given as four noisy readings, and a brand: do both tags get the same verdict? An
answer has one to four equally good words of eight, as the brand prescribes. A ReLU network is right for most tags of the range
that it was trained on, and often wrong where prices lie nearer to their limits than they did there. On familiar tags a rotation
finds the two verdicts (`das`); whether an unfamiliar answer is right is then told better by whether its verdicts can be
transplanted into solved tags (simulation, which asks the causal model for the true verdicts), and by how surely the verdicts
are read from their subspace (value probing, which needs no label), than by the largest probability or by a probe of correctness
on the last hidden layer (1,000 familiar tags, right and wrong). Random subspaces of equal rank do neither.

Limits: a toy of one task. The largest probability fails because the mass is split over words; summed over the words of an
answer (`auroc_summed`, not available where the words are unknown) it does as well as value probing, which is then no better
than a calibrated output. Simulation is better than both, but it is given the verdicts, as in the paper. The brand is there to
fill the hidden layer: with 20 inputs in all, random subspaces of rank four held so much of the verdicts that value probing on
them came to 0.59 to 0.63.

https://arxiv.org/abs/2505.11770
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor

import microtome as mt
from microtome.evidence import Estimate, paired_bootstrap
from microtome.organisms.small import fit_classes, perceptron
from microtome.replicate import Claim
from microtome.rng import derive, torch_rng
from microtome.stimuli import CausalModel, Interchanges, interchanges
from microtome.trace import counterfactual_simulation, das, interchange, value_probing
from microtome.trace.alignment.basis import Aligned, random_alignment
from microtome.trace.correctness_scores import auroc_of

CATALOG = ("trace", 68)
SEEDS = (0, 1, 2, 3, 4)
BUDGET_SECONDS = 100
METHODS = ("microtome.trace.correctness", "microtome.trace.correctness_scores", "microtome.trace.das",
           "microtome.trace.interchange")  # fmt: skip
READINGS, NOISE, BRANDS, WORDS, WIDTH = 4, 0.25, 32, 8, 96
#: Prices and limits lie in [-scale, scale].
FAMILIAR, SHIFTED = 1.0, 0.4
SITE, SIZE, DRAWS = "0", 2, 8
CODE = 3 * torch.eye(BRANDS)

CLAIMS = [
    Claim("interchange accuracy of the two verdicts on fresh familiar pairs", "iia", 0.8, null="iia_random"),
    Claim("AUROC of simulation over the largest probability", "simulation_over_softmax", 0.05, null="random_simulation_gain"),
    Claim("AUROC of value probing over the largest probability", "probing_over_softmax", 0.05, null="random_probing_gain"),
    Claim("AUROC of simulation over the correctness probe", "simulation_over_probe", 0.03, null="random_simulation_gain"),
    Claim("AUROC of value probing over the correctness probe", "probing_over_probe", 0.03, null="random_probing_gain"),
    Claim("least lower bound of the four gains, paired bootstrap", "least_bound", 0.0, null="least_bound_random"),
    Claim("random subspaces: distance of the AUROC of simulation from one half", "random_simulation_off", 0.08, "<=",
          null="simulation_off"),
    Claim("random subspaces: distance of the AUROC of value probing from one half", "random_probing_off", 0.08, "<=",
          null="probing_off"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Train, align on familiar tags, and predict which unfamiliar ones are answered rightly."""
    net = perceptron([4 * READINGS + BRANDS, WIDTH, WIDTH, 2 * WORDS], seed=seed)
    fit_classes(net, partial(training, seed), 1000, weight_decay=0.1)
    subject = mt.Subject(net)
    basis = das(subject, pairs(1000, seed), site=SITE, size=SIZE, steps=300, batch=128, seed=seed)
    found = interchange(subject, pairs(600, derive(seed, "fresh")), basis, seed=seed)
    (known, known_verdicts, _), (new, verdicts, _) = (
        tags(n, derive(seed, name), scale) for n, name, scale in ((1000, "known", FAMILIAR), (1500, "new", SHIFTED))
    )
    known_right, _, _ = answers(subject, known, known_verdicts)
    right, largest, summed = answers(subject, new, verdicts)
    scores = {"softmax": largest, "probe": correctness_probe(subject, known, known_right, new)}
    judge = partial(by_mechanism, subject, known, known_verdicts, known_right, new, verdicts)
    scores |= judge(basis)
    random = [judge(random_alignment(basis, seed, i)) for i in range(DRAWS)]
    auroc = {name: auroc_of(s, right) for name, s in scores.items()}
    by_chance = {name: float(np.mean([auroc_of(r[name], right) for r in random])) for name in ("simulation", "probing")}
    gains = {(m, b): gain(scores[m], scores[b], right, seed) for m in ("simulation", "probing") for b in ("softmax", "probe")}
    least = min(gain(random[0][m], scores[b], right, seed).low or 0.0 for m, b in gains)
    return {
        "iia": found.estimate.value, "iia_random": float(found.nulls[0].statistics.mean()),
        **{f"{m}_over_{b}": e.value for (m, b), e in gains.items()},
        **{f"random_{m}_gain": by_chance[m] - min(auroc["softmax"], auroc["probe"]) for m in by_chance},
        "least_bound": min(e.low or 0.0 for e in gains.values()), "least_bound_random": least,
        **{f"random_{m}_off": abs(a - 0.5) for m, a in by_chance.items()},
        **{f"{m}_off": abs(auroc[m] - 0.5) for m in by_chance}, **{f"auroc_{m}": a for m, a in auroc.items()},
        "auroc_summed": auroc_of(summed, right), "accuracy_known": float(known_right.mean()),
        "accuracy_new": float(right.mean()),
    }  # fmt: skip


def shown(verdicts: Tensor, brand: Tensor, scale: float, seed: int) -> Tensor:
    """Tags [n, 16 + 32]: per side the readings of price and limit, price above limit where the verdict is 1; the brand."""
    generator = torch_rng(seed, "tags")
    drawn = (2 * scale * torch.rand(len(verdicts), 2, 2, generator=generator) - scale).sort(dim=2).values
    numbers = torch.where(verdicts[:, :, None] == 1, drawn.flip(2), drawn)
    noise = torch.randn(len(verdicts), 2, 2, READINGS, generator=generator)
    return torch.cat([(numbers[..., None] + NOISE * noise).flatten(1), CODE[brand]], dim=1)


def tags(n: int, seed: int, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, verdicts [n, 2] and brands [n]."""
    generator = torch_rng(seed, "verdicts")
    verdicts = torch.randint(0, 2, (n, 2), generator=generator)
    brand = torch.randint(0, BRANDS, (n,), generator=generator)
    return shown(verdicts, brand, scale, seed), verdicts, brand


def training(seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Familiar tags and a word of the right answer: brand b has b % 4 + 1 of them, from word b // 4 on, round a ring."""
    where = derive(seed, "training", step)
    inputs, verdicts, brand = tags(512, where, FAMILIAR)
    drawn = (torch.rand(len(brand), generator=torch_rng(where, "word")) * (brand % 4 + 1)).long()
    return inputs, answer(verdicts) + (brand // 4 + drawn) % WORDS


def answer(verdicts: Tensor) -> Tensor:
    """First word of the answer: 0 where the verdicts differ, `WORDS` where they agree."""
    return WORDS * (verdicts[:, 0] == verdicts[:, 1]).long()


def pairs(n: int, seed: int) -> Interchanges:
    """Balanced interchanges of the verdicts on familiar tags of the first brand, which has one word."""
    model = CausalModel(
        ["a", "b", "left", "right", "same"], {"a": [0, 1], "b": [0, 1]},
        {"left": ["a"], "right": ["b"], "same": ["left", "right"]},
        {"left": lambda a: a, "right": lambda b: b, "same": lambda left, right: left == right},
    )  # fmt: skip

    def render(settings: list, where: int) -> Tensor:
        verdicts = torch.tensor([[s["a"], s["b"]] for s in settings]).view(-1, 2)
        return shown(verdicts, torch.zeros(len(verdicts), dtype=torch.long), FAMILIAR, where)

    return interchanges(model, n, render, lambda s: WORDS * int(s["same"]), name="price tags", seed=seed)


def answers(subject: mt.Subject, inputs: Tensor, verdicts: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether each answer is right, its largest probability, and that summed over the words of the answer."""
    p = subject.run(inputs).logits.softmax(-1)
    right = p.argmax(-1) // WORDS * WORDS == answer(verdicts)
    return right.numpy(), p.amax(-1).numpy(), p.view(-1, 2, WORDS).sum(-1).amax(-1).numpy()


def correctness_probe(subject: mt.Subject, known: Tensor, right: np.ndarray, new: Tensor) -> np.ndarray:
    """Log odds of a right answer, by logistic regression on the last hidden layer of familiar tags."""
    from sklearn.linear_model import LogisticRegression

    there, here = (subject.run(x, record=["3"], logits="none")["3"].numpy() for x in (known, new))
    return LogisticRegression(max_iter=2000).fit(there, right).decision_function(here)


def by_mechanism(
    subject: mt.Subject, known: Tensor, known_verdicts: Tensor, known_right: np.ndarray, new: Tensor, verdicts: Tensor,
    basis: Aligned,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Scores of the two methods: 64 solved familiar tags for simulation, all familiar ones for value probing."""
    solved = known[np.flatnonzero(known_right)[:64]].clone()
    solved[:, -BRANDS:] = CODE[0]
    labels = answer(verdicts)[:, None].expand(-1, len(solved))
    classes = (2 * known_verdicts[:, 0] + known_verdicts[:, 1]).numpy()
    return {
        "simulation": counterfactual_simulation(subject, new, basis, known=solved, labels=labels).scores,
        "probing": value_probing(subject, new, basis, known=known, values=classes).scores,
    }


def gain(method: np.ndarray, baseline: np.ndarray, right: np.ndarray, seed: int) -> Estimate:
    """AUROC of one score less that of another on the same inputs, with its interval over inputs."""

    def difference(a: np.ndarray, b: np.ndarray) -> float:
        return auroc_of(a[:, 0], a[:, 1] > 0.5) - auroc_of(b[:, 0], b[:, 1] > 0.5)

    return paired_bootstrap(*(np.stack([s, right], 1) for s in (method, baseline)), statistic=difference, draws=500, seed=seed)

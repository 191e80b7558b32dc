"""Leavitt and Morcos (2020), Towards falsifiable interpretability research: a claim fixed before it is measured can fail.

Registered: "class-selective hidden units matter more". Networks 64-64-10 on the digits of scikit-learn. A unit's
selectivity is (mu_max - mu_rest) / (mu_max + mu_rest) of its class means (silent units are left out), its importance the
accuracy lost when it is set to zero; both on held-out digits. Statistic: Spearman's rho over units. Null: units of like
mean activity permuted. Free permutations will not do: very active units are less selective, and move the accuracy of an
untrained network up or down with them, so that 8% to 25% of untrained networks are "supported" (`free_share`).

The hypothesis answers "supported" or "refuted" either way. It is held to two things: a unit that is built by hand to
carry a class alone is found against random directions of the same layer, and untrained networks are rarely "supported".
What trained networks say is a figure, not a claim: see `rho`.

https://arxiv.org/abs/2010.12016
"""

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from microtome.evidence import Finding, Hypothesis, correlation_test
from microtome.organisms.fit import fit, seeded
from microtome.replicate import Claim
from microtome.rng import rng, torch_rng
from microtome.subject.basis import Linear
from microtome.subject.bind import Metric
from microtome.subject.edit import ablate
from microtome.subject.subject import Subject

CATALOG = ("attribute", 10)
SEEDS = (0, 1, 2, 3, 4)
BUDGET_SECONDS = 60
METHODS = ("microtome.evidence.hypothesis", "microtome.subject.sweep", "microtome.subject.apply")
UNITS, UNTRAINED, SITE = 64, 40, "1"
MATTER = Hypothesis("class-selective hidden units matter more", "rank correlation", "units of like activity permuted")
CARRIES = Hypothesis("this unit carries its class", "accuracy on it lost", "random directions removed", alpha=0.01)

CLAIMS = [
    Claim("a unit that alone carries a class is found: p", "planted_p", 0.01, "<=", null="bystander_p"),
    Claim("untrained networks are supported rarely: share of 40", "false_share", 0.15, "<=", null="uncontrolled_share"),
    Claim("the verdict comes with p and is refused after an edit: share of networks", "sealed", 1.0, null="unsealed"),
]


def run(seed: int) -> dict[str, float]:
    """Test the registered hypothesis on a trained, a planted and forty untrained networks."""
    (x, y), held = digits(seed)
    trained = network(seed, "trained")
    fit(trained, lambda step: loss(trained, x, y, step, seed), 300, lr=3e-3)
    found = matter(trained, *held, seed)
    untrained = [matter(network(seed, f"untrained {i}"), *held, i) for i in range(UNTRAINED)]
    free = [matter(network(seed, f"untrained {i}"), *held, i, blocked=False) for i in range(UNTRAINED)]
    p = [f.nulls[0].p for f in untrained]
    planted = plant(trained)
    return {
        "planted_p": carries(planted, *held, 0, seed).nulls[0].p,
        "bystander_p": carries(planted, *held, 1, seed).nulls[0].p,
        "false_share": float(np.mean([f.verdict == "supported" for f in untrained])),
        "free_share": float(np.mean([f.verdict == "supported" for f in free])),
        # Without a null, "rho above 0" would be the finding.
        "uncontrolled_share": float(np.mean([f.nulls[0].observed > 0 for f in untrained])),
        "sealed": float(np.mean([f.verdict in ("supported", "refuted") and bool(f.hypothesis) for f in (found, *untrained)])),
        "unsealed": float(MATTER.registered),
        "rho": found.nulls[0].observed, "rho_p": found.nulls[0].p, "supported": float(found.verdict == "supported"),
        "accuracy": float((trained(held[0]).argmax(1) == held[1]).float().mean()), "smallest_false_p": min(p),
    }  # fmt: skip


def matter(module: nn.Module, x: Tensor, y: Tensor, seed: int, *, blocked: bool = True) -> Finding:
    """Does accuracy fall more when more selective units are zeroed?"""
    subject = Subject(module)
    swept = subject.sweep(x, [ablate(SITE, how="zero", unit=u) for u in range(UNITS)], correct(y))
    lost = (swept.base.mean() - swept.values.mean(1)).numpy()
    hidden = subject.run(x, record=[SITE], logits="none")[SITE].numpy()
    fires = hidden.max(0) > 0  # the selectivity of a silent unit is 0 / 0, and nothing is lost with it
    # An untrained network may lose nothing at all: ties are broken at random.
    lost = lost + 1e-9 * rng(seed, "ties").random(UNITS)
    chosen = selectivity(hidden[:, fires], y.numpy())
    alike = rankdata(hidden[:, fires].mean(0), method="ordinal").astype(int) // 4 if blocked else None
    null = correlation_test(rankdata(chosen), rankdata(lost[fires]), blocks=alike, alternative="greater", draws=999, seed=seed)
    return MATTER.register().test(null.observed, null)


def selectivity(hidden: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(mu_max - mu_rest) / (mu_max + mu_rest) of every unit."""
    means = np.stack([hidden[y == c].mean(0) for c in range(10)])
    best = means.max(0)
    rest = (means.sum(0) - best) / 9
    return (best - rest) / (best + rest)


def carries(module: nn.Module, x: Tensor, y: Tensor, unit: int, seed: int) -> Finding:
    """Does removing a unit cost its preferred class more than removing random directions does?"""
    subject = Subject(module)
    hidden = subject.run(x, record=[SITE], logits="none")[SITE]
    prefers = max(range(10), key=lambda c: float(hidden[y == c, unit].mean()))
    rows = y == prefers
    random = torch.nn.functional.normalize(torch.randn(199, UNITS, generator=torch_rng(seed, "directions")), dim=1)
    edits = [ablate(SITE, how="zero", unit=unit)]
    edits += [ablate(SITE, how="zero", basis=Linear(SITE, d[:, None], d[None])) for d in random]
    swept = subject.sweep(x[rows], edits, correct(y[rows]))
    lost = swept.base.mean() - swept.values.mean(1)
    return CARRIES.register().test(float(lost[0]), lost[1:].numpy())


def plant(trained: nn.Module) -> nn.Module:
    """The trained network in which unit 0 alone carries class 0: it copies that class's evidence, and no other unit does.

    Unit 0 takes the mean digit 0 against the mean of the others; every other unit's weight to output 0 is removed.
    """
    module = nn.Sequential(nn.Linear(64, UNITS), nn.ReLU(), nn.Linear(UNITS, 10))
    module.load_state_dict(trained.state_dict())
    (x, y), _ = digits(0)
    apart = x[y == 0].mean(0) - x[y != 0].mean(0)
    middle = (x[y == 0].mean(0) + x[y != 0].mean(0)) / 2
    with torch.no_grad():
        module[0].weight[0], module[0].bias[0] = apart, -apart @ middle
        module[2].weight[0], module[2].weight[1:, 0] = 0.0, 0.0
        module[2].weight[0, 0], module[2].bias[0] = 20.0 / float(apart @ apart), -2.0
    return module.eval()


def correct(y: Tensor) -> Metric:
    """1 where the largest logit is the right one."""
    return Metric(lambda logits, answers, wrong: (logits.argmax(1) == answers).float(), y, (y + 1) % 10, None, "accuracy")


def digits(seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Half of the digits for training, half held out; pixels in [0, 1]."""
    from sklearn.datasets import load_digits

    data = load_digits()
    x, y = torch.tensor(data.data, dtype=torch.float32) / 16, torch.tensor(data.target)
    order = torch.randperm(len(x), generator=torch_rng(seed, "digits"))
    return (x[order[:900]], y[order[:900]]), (x[order[900:]], y[order[900:]])


def network(seed: int, name: str) -> nn.Module:
    return seeded(lambda: nn.Sequential(nn.Linear(64, UNITS), nn.ReLU(), nn.Linear(UNITS, 10)), seed, name).eval()


def loss(module: nn.Module, x: Tensor, y: Tensor, step: int, seed: int) -> Tensor:
    rows = torch.randint(len(x), (128,), generator=torch_rng(seed, "batch", step))
    return nn.functional.cross_entropy(module(x[rows]), y[rows])

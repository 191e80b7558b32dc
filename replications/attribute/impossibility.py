"""Bilodeau, Jaques, Koh, Kim (2022), Impossibility Theorems for Feature Attribution: end tasks decided by a coin.

Does the output rise when a feature rises a little? 2,000 random additive models of six features, each a piecewise linear
function with ten knots: deciding by the sign of integrated gradients, or of exact Shapley values, is a coin flip (sensitivity
plus specificity 1), thirty queries of the model decide. The builder of counterexamples makes, for any network and input, two
networks with one attribution of the feature and opposite trends, here around a network trained on the breast cancer data. The
theorem speaks of a class of models that holds such pairs, not of every trained network: how the sign of integrated gradients
does on that network itself, and one feature of it, is given beside (`one_network`, 1 is a coin). Null of each coin: the
decision by queries of the model.

https://arxiv.org/abs/2212.11870
"""

import numpy as np
import torch
from torch import Tensor, nn

from microtome.attribute import counterexample, decides, integrated_gradients, kernel_shap, local_trend
from microtome.organisms.fit import fit
from microtome.organisms.small import perceptron
from microtome.replicate import Claim
from microtome.rng import rng
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject

CATALOG = ("attribute", 91)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 60
METHODS = (
    "microtome.attribute.judge.end_tasks", "microtome.attribute.integrated_gradients", "microtome.attribute.kernel_shap",
)  # fmt: skip
MODELS, FEATURES, KNOTS, DELTA, PAIRS = 2000, 6, 10, 0.02, 40

CLAIMS = [
    Claim("IG decides the local trend: sensitivity + specificity, distance from 1", "ig_away", 0.06, "<=", null="direct_away"),
    Claim("exact Shapley values: the same", "shap_away", 0.06, "<=", null="direct_away"),
    Claim("30 queries: sensitivity + specificity", "direct", 1.8, null="ig"),
    Claim("pairs of networks: attributions of the feature differ by at most", "pair_gap", 1e-3, "<=", null="other_gap"),
    Claim("and their trends are opposite: share of pairs", "pair_opposite", 1.0, null="attributed_opposite"),
    Claim("IG on the pairs: distance from a coin", "pair_away", 0.06, "<=", null="pair_direct_away"),
]


class Additive(nn.Module):
    """Row i of a batch (counted modulo the models) goes through model i: a sum of piecewise linear functions on [-2, 2]."""

    def __init__(self, values: Tensor):
        super().__init__()
        self.values = nn.Parameter(values)  # [models, features, knots]

    def forward(self, x: Tensor) -> Tensor:
        table = self.values.repeat(len(x) // len(self.values), 1, 1)
        at = ((x + 2) / 4).clamp(0, 1) * (KNOTS - 1)
        left = at.floor().long().clamp(max=KNOTS - 2)
        low, high = (table.gather(2, (left + k)[..., None])[..., 0] for k in (0, 1))
        out = (low + (at - left) * (high - low)).sum(1)
        return torch.stack([out, torch.zeros_like(out)], 1)


def run(seed: int) -> dict[str, float]:
    """Decide the trend of feature 0 from attributions and by asking; build pairs around a trained network."""
    g = rng(seed, "impossibility")
    values = torch.from_numpy(g.normal(size=(MODELS, FEATURES, KNOTS)))
    x = torch.from_numpy(g.uniform(-2, 2 - DELTA, size=(MODELS, FEATURES)))
    subject, task = Subject(nn.Sequential(Additive(values))), asked(x)
    # The truth from the knots themselves, without the network.
    position = (x[:, 0] + 2) / 4 * (KNOTS - 1)
    left = position.long()
    rows = torch.arange(MODELS)
    rises = values[rows, 0, left + 1] > values[rows, 0, left]
    maps = {"ig": integrated_gradients(subject, task, steps=16).values, "shap": kernel_shap(subject, task, samples=62).values}
    found = {name: decides(values[:, 0], rises)["sum"] for name, values in maps.items()}
    trend = local_trend(subject, task, feature=0, delta=DELTA, seed=seed)
    direct = decides(trend.value, rises)["sum"]
    pairs, trained = counterexamples(seed)
    return {
        **found, "direct": direct, "ig_away": abs(found["ig"] - 1), "shap_away": abs(found["shap"] - 1),
        "direct_away": abs(direct - 1), **pairs, **trained,
    }  # fmt: skip


def counterexamples(seed: int) -> tuple[dict[str, float], dict[str, float]]:
    """Pairs around examples of a network trained on the breast cancer data, and that network by itself."""
    from sklearn.datasets import load_breast_cancer

    data, labels = load_breast_cancer(return_X_y=True)
    x = torch.tensor((data - data.mean(0)) / data.std(0))
    y = torch.tensor(labels)
    net = perceptron([30, 24, 2], activation=nn.Tanh, seed=seed).double()
    fit(net, lambda step: nn.functional.cross_entropy(net(x[:400]), y[:400]), 150, lr=1e-2)
    subject, held = Subject(net), x[400:]
    feature = int(rng(seed, "feature").integers(30))
    maps = integrated_gradients(subject, asked(held)).values[:, feature]
    truth = local_trend(subject, asked(held), feature=feature, delta=DELTA, seed=seed)
    scores, answers, asked_scores, gaps, opposite = [], [], [], [], []
    for i in range(PAIRS):
        one = asked(held[i : i + 1])
        both = counterexample(subject, one, feature=feature)
        near = min(DELTA, abs(float(held[i, feature])) / 4)  # within the bump, which reaches half of the way to the baseline
        signs = [local_trend(s, one, feature=feature, delta=near, seed=seed) for s in both]
        given = [float(integrated_gradients(s, one, steps=16).values[0, feature]) for s in both]
        gaps.append(abs(given[0] - given[1]))
        scores += given
        asked_scores += [float(s.value[0]) for s in signs]
        answers += [True, False]
        opposite.append(bool(signs[0].yes[0]) and not bool(signs[1].yes[0]))
    coin = decides(torch.tensor(scores), torch.tensor(answers))["sum"]
    known = decides(torch.tensor(asked_scores), torch.tensor(answers))["sum"]
    both_ways = bool(truth.yes.any()) and not bool(truth.yes.all())
    alone = decides(maps, truth.yes)["sum"] if both_ways else 2 * float(((maps > 0) == truth.yes).double().mean())
    signs_differ = [a * b < 0 for a, b in zip(scores[::2], scores[1::2])]
    return (
        {"pair_gap": max(gaps), "other_gap": float(np.abs(np.diff(np.sort(maps[:PAIRS].numpy()))).max()),
         "pair_opposite": float(np.mean(opposite)), "attributed_opposite": float(np.mean(signs_differ)),
         "pair_away": abs(coin - 1), "pair_direct_away": abs(known - 1)},
        {"one_network": alone},
    )  # fmt: skip


def asked(x: Tensor) -> Task:
    """The first logit less the second."""
    zero = torch.zeros(len(x), dtype=torch.long)
    return Task("trend", x, x.flip(0) - 1, zero, zero + 1, kind="image", groups=list(range(len(x))))

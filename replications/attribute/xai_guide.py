"""Hsieh et al. (2024), A Comprehensive Guide to Explainable AI: a gallery of its families, each by one call.

Every method is `method(subject, task)`, whatever the model: a logistic model, a network, trees (a random forest) and an
additive model (a logistic model of splines) on the breast cancer data, a convolutional network on scikit-learn's digits, a
transformer on text. Each gallery entry has a number of fidelity (the drop of the output when the largest places go, less that
when the smallest go) beside that of a random map, and a control: the same with the maps of the model with randomised weights,
or, where there are none, fitted to shuffled labels. Local methods are compared with exact Shapley values of eight features, by
a loop over all coalitions; of the additive model they are known, its own terms. Of the classical explainers that scikit-learn
has, permutation importance is compared with ours.

A survey claims coverage, not figures: what is claimed here is that the families run, agree where they should, and say more than
a random explainer. Trees and the additive model came later, asked for their outputs alone (no gradients); the thresholds of the
first three claims stayed. Rules, SVMs and neighbours are not here, nor explainers that read trees from inside (TreeSHAP).

https://arxiv.org/abs/2412.00800
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import combinations
from math import comb
from operator import methodcaller
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import microtome as mt
from microtome import attribute as a
from microtome.attribute.judge.randomisation import spearman_rows
from microtome.organisms.fit import seeded
from microtome.organisms.small import fit_classes, perceptron
from microtome.replicate import Claim
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject

CATALOG = ("attribute", 266)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 90
METHODS = ("microtome.attribute.judge.evaluate", "microtome.attribute.judge.curves", "microtome.attribute.permutation")
FEATURES, AGREE, SHOWN = 8, 0.7, 32
LOCAL = {
    "gradient times input": partial(a.gradient, times="input"), "integrated gradients": a.integrated_gradients,
    "DeepLIFT": a.deeplift, "LRP": partial(a.lrp, composite="epsilon"), "KernelSHAP": partial(a.kernel_shap, samples=254),
    "Shapley sampling": partial(a.shapley_sampling, samples=64), "LIME": partial(a.lime, samples=254),
    "ablation": a.feature_ablation, "permutation": partial(a.permutation, draws=12),
}  # fmt: skip
PICTURES = {
    "Grad-CAM": a.grad_cam, "HiResCAM": partial(a.grad_cam, formula="hires"), "occlusion": partial(a.occlusion, size=2),
    "integrated gradients": a.integrated_gradients, "DeepLIFT": a.deeplift, "LRP": a.lrp,
}  # fmt: skip
#: Asked for outputs only, so they serve models without gradients.
BLACK_BOX = {name: partial(LOCAL[name], at="columns")
             for name in ("KernelSHAP", "Shapley sampling", "LIME", "ablation", "permutation")}  # fmt: skip
TEXTS = {
    "integrated gradients": a.integrated_gradients, "occlusion": a.occlusion,
    "gradient times input": partial(a.gradient, times="input"),
}  # fmt: skip

CLAIMS = [
    Claim("local methods that agree with exact Shapley values (Spearman above 0.7): share", "agreeing", 0.8,
          null="agreeing_random"),
    Claim("entries whose fidelity beats a random map (q <= 0.05): share", "faithful", 0.9, null="faithful_redrawn"),
    Claim("permutation importance: Spearman with scikit-learn's", "importance", 0.9, null="importance_random"),
    Claim("trees: sampled Shapley values, least Spearman with the exact ones", "trees", 0.9, null="trees_random"),
    Claim("an additive model: the same with its own terms", "terms", 0.9, null="terms_moved"),
]  # fmt: skip


class Entry(NamedTuple):
    """A model of the gallery, one that learned nothing, and what is asked of both."""

    subject: Subject
    twin: Subject
    task: Task
    methods: dict
    at: str | None = None
    baseline: str | float = 0.0


def run(seed: int) -> dict[str, float]:
    """Make the models, run the gallery, judge it."""
    table, logistic, task = patients(seed)
    exact = shapley(table, task)
    agreement = {name: rank(method(table, task).values, exact) for name, method in LOCAL.items()}
    randoms = [rank(a.random_map(table, task, like=a.gradient, seed=s).values, exact) for s in range(len(LOCAL))]
    text, (net, digits) = mt.load("organism:compiled-ioi"), pictures(seed)
    trees, additive, terms = without_gradients(task, seed)
    twin = methodcaller("twin", "reinit", seed=seed + 1)
    gallery = [
        Entry(table, twin(table), task, LOCAL), Entry(logistic, twin(logistic), task, LOCAL),
        Entry(*trees, task, BLACK_BOX, "columns"), Entry(*additive, task, BLACK_BOX, "columns"),
        Entry(net, twin(net), digits, PICTURES, "0:input", "mean"),
        Entry(text, twin(text), text.organism.examples(SHOWN, seed), TEXTS),
    ]  # fmt: skip
    won = [hit for entry in gallery for hit in better(entry, entry.methods, seed)]
    lost = [hit for entry in gallery for hit in better(entry, of_twin(entry), seed)]
    ours, theirs = importance(table, task, seed)
    exact_trees, samplers = shapley(trees[0], task), [BLACK_BOX[name] for name in ("KernelSHAP", "Shapley sampling")]
    chance = a.random_map(trees[0], task, like=samplers[0], seed=seed).values
    return {
        "trees": min(rank(method(trees[0], task).values, exact_trees) for method in samplers),
        "trees_random": rank(chance, exact_trees),
        "terms": min(rank(method(additive[0], task).values, terms) for method in samplers),
        "terms_moved": rank(samplers[0](additive[0], task).values, terms.roll(3, 1)),
        "agreeing": share(v > AGREE for v in agreement.values()), "agreeing_random": share(v > AGREE for v in randoms),
        "faithful": share(won), "faithful_redrawn": share(lost),
        "importance": float(np.corrcoef(ours.argsort().argsort(), theirs.argsort().argsort())[0, 1]),
        "importance_random": float(np.corrcoef(np.roll(ours, 3).argsort().argsort(), theirs.argsort().argsort())[0, 1]),
        "least_agreement": min(agreement.values()), "entries": float(len(won)),
    }  # fmt: skip


def share(hits) -> float:
    return float(np.mean([float(h) for h in hits]))


def rank(values: Tensor, exact: Tensor) -> float:
    return float(spearman_rows(values, exact).mean())


def better(entry: Entry, methods: dict, seed: int) -> list[bool]:
    """Which methods' fidelity beats that of the random map."""
    fidelity = a.Measure("fidelity", "faithfulness", "higher", lambda case: case.curves.gap)
    found = a.evaluate(entry.subject, entry.task, methods, measures=[fidelity], at=entry.at, baseline=entry.baseline, seed=seed)
    rows = found.differences()
    rows = rows[rows.b == "random map"].set_index("a").better
    return [rows[name] == name for name in methods]


def of_twin(entry: Entry) -> dict:
    """The same methods, asked of the model that learned nothing and put forward as maps of the model."""

    def of(method, subject: Subject, task: Task) -> a.Attribution:
        return replace(method(entry.twin, task), subject=subject.fingerprint())

    return {name: partial(of, method) for name, method in entry.methods.items()}


class Asked(nn.Module):
    """Log odds of any function of columns, as the logits of two classes."""

    def __init__(self, log_odds: Callable[[np.ndarray], np.ndarray]) -> None:
        super().__init__()
        self.columns, self.log_odds = nn.Identity(), log_odds

    def forward(self, x: Tensor) -> Tensor:
        half = torch.from_numpy(self.log_odds(self.columns(x).numpy())).float() / 2
        return torch.stack([-half, half], 1)


def without_gradients(task: Task, seed: int) -> tuple[list[Subject], list[Subject], Tensor]:
    """A forest and an additive model, each also fitted to shuffled labels; the terms of the additive one for the patients."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import SplineTransformer

    x, y = (part.numpy()[:450] for part in columns())
    forests, additive = [], []
    for labels in (y, np.random.default_rng(seed).permutation(y)):
        forest = RandomForestClassifier(50, min_samples_leaf=3, random_state=seed).fit(x, labels)
        forests.append(lambda rows, forest=forest: np.log(forest.predict_proba(rows).clip(0.01, 0.99)) @ [-1.0, 1.0])
        additive.append(make_pipeline(SplineTransformer(5), LogisticRegression(max_iter=1000)).fit(x, labels))
    splines, weights = additive[0][0], additive[0][1].coef_[0].reshape(FEATURES, -1)
    rows = np.concatenate([np.zeros((1, FEATURES)), np.asarray(task.clean)])
    terms = (splines.transform(rows).reshape(len(rows), FEATURES, -1) * weights).sum(-1)
    sign = 2.0 * torch.as_tensor(task.answers)[:, None] - 1
    models = [Subject(Asked(f)) for f in (*forests, *(model.decision_function for model in additive))]
    return models[:2], models[2:], sign * torch.from_numpy(terms[1:] - terms[0])


def columns() -> tuple[Tensor, Tensor]:
    """Eight standardised columns of the breast cancer data, and whether a tumour is benign."""
    from sklearn.datasets import load_breast_cancer

    data, labels = load_breast_cancer(return_X_y=True)
    return torch.tensor((data - data.mean(0)) / data.std(0), dtype=torch.float32)[:, 20 : 20 + FEATURES], torch.tensor(labels)


def patients(seed: int) -> tuple[Subject, Subject, Task]:
    """A network and a logistic model on eight features, and held-out patients."""
    from sklearn.linear_model import LogisticRegression

    x, y = columns()
    net = perceptron([FEATURES, 16, 2], seed=seed)
    fit_classes(net, lambda step: (x[:450], y[:450]), 150, lr=1e-2)
    fitted = LogisticRegression().fit(x[:450].numpy(), y[:450].numpy())
    linear = nn.Sequential(nn.Linear(FEATURES, 2)).eval()
    with torch.no_grad():
        half = torch.tensor(fitted.coef_[0], dtype=torch.float32) / 2
        linear[0].weight.copy_(torch.stack([-half, half]))
        linear[0].bias.zero_()
    held, truth = x[450 : 450 + SHOWN], y[450 : 450 + SHOWN]
    task = Task("benign", held, held.flip(0) + 1e-3, truth, 1 - truth, kind="image", groups=list(range(SHOWN)))
    return Subject(net), Subject(linear), task


def pictures(seed: int) -> tuple[Subject, Task]:
    """A convolutional network on digits, and held-out digits."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, torch.tensor(digits.target)
    net = seeded(lambda: nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(1024, 10),
    ), seed, "digits")  # fmt: skip
    at = torch.arange(64)
    fit_classes(net, lambda step: (x[(at + 64 * step) % 1500], y[(at + 64 * step) % 1500]), 150)
    x, y = x[1500 : 1500 + SHOWN], y[1500 : 1500 + SHOWN]
    task = Task("digit", x, x.flip(0), y, (y + 1) % 10, kind="image", groups=list(range(SHOWN)))
    return Subject(net), task


def shapley(subject: Subject, task: Task) -> Tensor:
    """Exact Shapley values against zeros [n, features]: a loop over all coalitions, without the package's engine."""
    rows, everyone = torch.arange(len(task)), range(FEATURES)
    worth = {}
    with torch.no_grad():
        for chosen in (c for size in range(FEATURES + 1) for c in combinations(everyone, size)):
            kept = torch.zeros(FEATURES).index_fill(0, torch.tensor(chosen, dtype=torch.long), 1.0)
            logits = subject.module(task.clean * kept)
            worth[chosen] = logits[rows, task.answers] - logits[rows, task.wrong]
    gains = torch.zeros(len(task), FEATURES)
    for i, chosen in ((i, c) for i in everyone for c in worth if i not in c):
        gains[:, i] += (worth[tuple(sorted((*chosen, i)))] - worth[chosen]) / (FEATURES * comb(FEATURES - 1, len(chosen)))
    return gains


def importance(subject: Subject, task: Task, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean drop of the metric with each feature permuted: ours, and scikit-learn's."""
    from sklearn.inspection import permutation_importance

    ours = a.permutation(subject, task, draws=20, seed=seed).values.mean(0).numpy()

    class Model:
        def fit(self, x, y):
            return self

    def metric(_, x: np.ndarray, y: np.ndarray) -> float:
        with torch.no_grad():
            logits = subject.module(torch.tensor(x, dtype=torch.float32))
        return float((logits[np.arange(len(y)), y] - logits[np.arange(len(y)), 1 - y]).mean())

    found = permutation_importance(Model(), task.clean.numpy(), np.asarray(task.answers), scoring=metric, n_repeats=20,
                                   random_state=seed)  # fmt: skip
    return ours, np.asarray(found.importances_mean)

"""Gat et al. (2022), A Functional Information Perspective on Model Interpretation: information bounds entropy, and finds.

The logarithmic Sobolev inequality: the entropy of a positive output under a Gaussian around the input is at most half the
functional Fisher information. Both sides are equal for ``f = exp(a . z)`` (60,000 draws); for the class probabilities of a
perceptron trained on scikit-learn's digits the inequality holds at nearly every test picture (2,000 draws), while the gradient
at the picture itself, the null, bounds it at far fewer.

A table of 50 columns: 10 informative ones in two correlated blocks, 10 that copy them with noise, 30 of noise. With the
covariance of the table, information averaged over rows ranks the informative columns above all others, no worse than the mean
squared gradient of noisy copies (SmoothGrad squared); information of a redrawn network, the null, ranks nothing.

https://arxiv.org/abs/2206.05700
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from microtome.attribute import functional_information, gradient, smoothgrad, vargrad
from microtome.organisms.small import fit_classes, perceptron
from microtome.replicate import Claim
from microtome.rng import rng, torch_rng
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject

CATALOG = ("attribute", 94)
SEEDS = (0, 1, 2, 3, 4)
BUDGET_SECONDS = 60
METHODS = ("microtome.attribute.functional_information", "microtome.attribute.paths")
COLUMNS, INFORMATIVE, POINTS = 50, 10, 100

CLAIMS = [
    Claim("entropy and half the information of exp(a . z): worst relative distance", "exponential", 0.03, "<=",
          null="perceptron"),
    Claim("share of test pictures at which the bound holds", "bounded", 0.95, null="bounded_at_input"),
    Claim("AUC of information for the informative columns", "auc", 0.85, null="redrawn_auc"),
    Claim("AUC less that of SmoothGrad squared", "over_smoothgrad", -0.02, null="redrawn_over_smoothgrad"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """The equality, the inequality, and a table."""
    exact = exponential(seed)
    found, local = digits(seed)
    return {"exponential": exact, **found, **local, **table(seed)}


def exponential(seed: int) -> float:
    g = torch_rng(seed, "exponential")
    a = torch.randn(4, generator=g, dtype=torch.float64)
    layer = nn.Linear(4, 2, bias=False).double()
    layer.weight.data = torch.stack([0.5 * a / a.norm(), torch.zeros_like(a)])
    x = torch.randn(2, 4, generator=g, dtype=torch.float64)
    found = functional_information(Subject(nn.Sequential(layer)), about(x, torch.zeros(2, dtype=torch.long)), covariance=1.0,
                                   spread=1.0, samples=60000, metric="logit_difference", seed=seed)  # fmt: skip
    return float((found.terms["entropy"] / found.terms["bound"] - 1).abs().max())


def digits(seed: int) -> tuple[dict[str, float], dict[str, float]]:
    """Both sides for the predicted class at test pictures."""
    data = load_digits()
    order = rng(seed, "digits").permutation(len(data.target))
    x = torch.tensor(data.data[order] / 16)
    y = torch.tensor(data.target[order])
    net = perceptron([64, 32, 10], activation=nn.GELU, seed=seed).double()
    fit_classes(net, batches(x[POINTS:], y[POINTS:], seed), 300)
    subject = Subject(net)
    task = about(x[:POINTS], net(x[:POINTS]).argmax(1))
    spread = 0.15 * float(x.var())
    found = functional_information(subject, task, covariance=1.0, spread=spread, samples=2000, seed=seed)
    entropy, bound = found.terms["entropy"], found.terms["bound"]
    slope = gradient(subject, task, metric="log_prob")
    at_input = 0.5 * spread * slope.output.exp() * slope.values.square().sum(1)
    return (
        {"bounded": float((entropy <= bound).double().mean()), "perceptron": float((1 - entropy / bound).median())},
        {"bounded_at_input": float((entropy <= at_input).double().mean()),
         "digits_accuracy": float((net(x[:POINTS]).argmax(1) == y[:POINTS]).double().mean())},
    )  # fmt: skip


def table(seed: int) -> dict[str, float]:
    """Rankings of the columns of a table."""
    x, y = columns(4000, rng(seed, "table"))
    net = perceptron([COLUMNS, 64, 2], activation=nn.GELU, seed=seed).double()
    fit_classes(net, batches(x[1000:], y[1000:], seed), 400, lr=3e-3)
    rows, cov = x[:200], torch.cov(x[1000:].T)
    truth = np.arange(COLUMNS) < INFORMATIVE
    area = lambda found: float(roc_auc_score(truth, found.mean(0)))  # noqa: E731
    auc = {}
    for name, subject in (("trained", Subject(net)), ("redrawn", Subject(net).twin("reinit", seed=seed))):
        task = about(rows, subject.module(rows).argmax(1))
        auc[name] = area(functional_information(subject, task, covariance=cov, samples=32, seed=seed).values)
        if name == "trained":
            plain = area(squared(subject, task, seed))
    return {
        "auc": auc["trained"], "redrawn_auc": auc["redrawn"], "smoothgrad_auc": plain,
        "over_smoothgrad": auc["trained"] - plain, "redrawn_over_smoothgrad": auc["redrawn"] - plain,
        "table_accuracy": float((net(x[:1000]).argmax(1) == y[:1000]).double().mean()),
    }  # fmt: skip


def squared(subject: Subject, task: Task, seed: int, samples: int = 32) -> Tensor:
    """SmoothGrad squared, E[g^2], from the mean and the variance of the same draws."""
    settings = {"samples": samples, "metric": "probability", "seed": seed}
    mean, spread = (f(subject, task, **settings).values for f in (smoothgrad, vargrad))
    return mean.square() + spread * (samples - 1) / samples


def columns(n: int, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Rows [n, 50] and labels [n]."""
    block = np.repeat(draw.standard_normal((n, 2)), INFORMATIVE // 2, axis=1)
    own = 0.3**0.5 * block + 0.7**0.5 * draw.standard_normal((n, INFORMATIVE))
    copies = 0.7 * own + 0.51**0.5 * draw.standard_normal((n, INFORMATIVE))
    x = np.concatenate([own, copies, draw.standard_normal((n, COLUMNS - 2 * INFORMATIVE))], axis=1)
    score = own[:, :6] @ np.array([1, -1, 1, 1, -1, 1]) + 1.5 * (own[:, 6] * own[:, 7] + own[:, 8] * own[:, 9])
    return torch.tensor(x), torch.tensor(score > np.median(score)).long()


def batches(x: Tensor, y: Tensor, seed: int, size: int = 128):
    g = torch_rng(seed, "batches")

    def batch(_: int) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(x), (size,), generator=g)
        return x[rows], y[rows]

    return batch


def about(x: Tensor, answers: Tensor) -> Task:
    """The class `answers` at points x; the other class is not read."""
    return Task("points", x, x - 1, answers, 1 - answers.clamp(max=1), kind="image", groups=list(range(len(x))))

"""Nguyen, Yosinski, Clune (2016), Multifaceted Feature Visualization: one unit, three kinds of pictures, a picture for each.

A convolutional network learns two classes of handwritten digits (scikit-learn): {0, 4, 7} and the rest. Nothing says which of
the three a picture of the first class is. The facets of its unit are the digits; the pictures made from their means are
named, by another network that learned ten classes, as all three, while climbs from noise show fewer. They excite the unit
more than 95 in 100 real pictures of the class. The same on networks with redrawn weights: their pictures are named as one
of the three with less confidence.

Codes are read at the last convolution. In the last hidden layer of a network of two classes the three digits are one cloud
(adjusted Rand index 0.07 on the one seed looked at): facets are found where the network still keeps kinds apart, as fc7 of
1,000 classes does.

A unit of two can stand for the absence of the other class: on one of the first five seeds reported (0 to 4) all hidden units
were silent for the class, the unit was its bias, and no picture could raise it (4 in 100 instead of 95). A unit of 1,000
classes has to see something; so has one without a bias. The claims are as they were, calibrated and reported on new seeds.

Limits: 8 x 8 pixels, aligned, and the number of facets is given. The original shows photographs and hidden units of an
ImageNet network, by eye.

https://arxiv.org/abs/1602.03616
"""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import mannwhitneyu
from sklearn.metrics import adjusted_rand_score
from torch import Tensor, nn

from microtome.attribute import class_logit, multifaceted_viz, visualise
from microtome.organisms.fit import seeded
from microtome.organisms.small import fit_classes
from microtome.replicate import Claim
from microtome.rng import rng, torch_rng
from microtome.subject.subject import Subject

CATALOG = ("attribute", 52)
SEEDS = (20, 21, 22, 23, 24)
BUDGET_SECONDS = 60
METHODS = (
    "microtome.attribute.multifaceted_viz", "microtome.attribute.facets", "microtome.attribute.visual.ascent",
    "microtome.attribute.visual.brushes", "microtome.attribute.visual.canvas", "microtome.attribute.visual.transforms",
)  # fmt: skip
OWN, TEST, TWINS, AT = (0, 4, 7), 300, 5, "3"

CLAIMS = [
    Claim("adjusted Rand index of facets and digits", "rand", 0.6, null="rand_shuffled"),
    Claim("digits of the class that another network sees in the three pictures", "digits", 3, null="digits_noise",
          over="median"),
    Claim("real pictures of the class that excite the unit less, in per cent: least over facets", "percentile", 95,
          null="percentile_twin"),
    Claim("confidence in a digit of the class, above that of pictures made on redrawn networks: p", "p", 0.05, "<=",
          null="p_twins", over="median"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Train the two networks, find facets, name the pictures."""
    x, y = digits(seed)
    ours = torch.isin(y, torch.tensor(OWN))
    net = trained(x, ours.long(), 2, seed)
    judge = trained(x, y, 10, seed + 1000)
    subject, shown, which = Subject(net), x[TEST:][ours[TEST:]], y[TEST:][ours[TEST:]].numpy()
    found = multifaceted_viz(subject, 1, shown, at=AT, facets=3, twin=None, seed=seed)
    noise = visualise(subject, class_logit(1), shown, starts=3, steps=120, twin=None, seed=seed)
    twins = [subject.twin("reinit", seed=100 * seed + i) for i in range(TWINS)]
    others = torch.stack([multifaceted_viz(t, 1, shown, at=AT, facets=3, twin=None, seed=seed).made.images for t in twins])
    mine, its = confidence(judge, found.made.images), confidence(judge, others.flatten(0, 1))
    with torch.no_grad():
        accuracy = [float((m(x[:TEST]).argmax(1) == t[:TEST]).float().mean()) for m, t in ((net, ours.long()), (judge, y))]
    return {
        "rand": float(adjusted_rand_score(which, found.labels)),
        "rand_shuffled": float(adjusted_rand_score(which, rng(seed, "shuffled").permutation(found.labels))),
        "digits": seen(judge, found.made.images), "digits_noise": seen(judge, noise.images),
        "percentile": float(found.made.percentile.min()),
        "percentile_twin": float(np.mean([100 * (found.made.real < logit(net, x).min()).double().mean() for x in others])),
        "p": float(mannwhitneyu(mine, its, alternative="greater").pvalue),
        "p_twins": float(mannwhitneyu(its[::2], its[1::2], alternative="greater").pvalue),
        "confidence": float(mine.mean()), "confidence_twins": float(its.mean()), "silhouette": found.separation,
        "silhouette_cloud": float(found.chance.mean()), "accuracy": accuracy[0], "judge_accuracy": accuracy[1],
        "digits_starts": seen(judge, found.starts),
    }  # fmt: skip


def digits(seed: int) -> tuple[Tensor, Tensor]:
    """Images [n, 1, 8, 8] in [0, 1] and labels, in an order of the seed."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch_rng(seed, "digits"))
    return torch.tensor(data.images / 16.0, dtype=torch.float32)[order, None], torch.tensor(data.target)[order]


def trained(x: Tensor, y: Tensor, classes: int, seed: int) -> nn.Sequential:
    """A network of two convolutions and a hidden layer, on all but the test pictures."""
    net = seeded(lambda: nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 24, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(384, 48), nn.ReLU(), nn.Linear(48, classes, bias=False),
    ), seed, "facets")  # fmt: skip
    g = torch_rng(seed, "batches")

    def batch(step: int) -> tuple[Tensor, Tensor]:
        rows = torch.randint(TEST, len(x), (64,), generator=g)
        return x[rows], y[rows]

    fit_classes(net, batch, 250)
    return net


@torch.no_grad()
def logit(net: nn.Module, pictures: Tensor) -> Tensor:
    """What the unit says of pictures."""
    return net(pictures)[:, 1]


@torch.no_grad()
def seen(judge: nn.Module, pictures: Tensor) -> int:
    """How many of the digits of the class the judge sees in the pictures."""
    return len(set(judge(pictures).argmax(1).tolist()) & set(OWN))


@torch.no_grad()
def confidence(judge: nn.Module, pictures: Tensor) -> np.ndarray:
    """Probability of a digit of the class, of each picture."""
    return F.softmax(judge(pictures), 1)[:, list(OWN)].sum(1).numpy()

"""Satkiewicz (2025), Tapping into the Black Box: soft gates in the backward pass align the gradient with the class.

A VGG with batch norm (eight convolutions, two max pools) on the digits of scikit-learn: the paper's networks are deep and
have batch norm, so that their gradients are misaligned (cosine 0.2 with what sets a class apart, its mean image minus the
mean of all) and one temperature fits all layers. The forward is untouched and the cold pullback is the gradient. The warm one
points more along the class's direction than the gradient does, and than the pullback of redrawn networks. Five steps along
the pullback of another class turn the prediction.

The temperature is the best of three on the training images; the figures are of test images. Differences are paired over
test images, with Wilcoxon's test. Redrawn networks gain by chance, in either direction (-0.12 to 0.16), so that the null of
the gain is the mean over eight of them.

Earlier versions (seeds 0 to 2) had two convolutions without batch norm and gained 0.018 to 0.033, against 0.05 expected and
one redrawn network each. Taken apart on seeds 100 to 103: two convolutions gain 0.02, with batch norm 0.06 to 0.075, eight
without 0.025, with batch norm 0.15 to 0.17; their gradients have cosines of 0.75, 0.55, 0.52 and 0.2. The miniature was changed
once since; the seeds reported now are new. The warmest of the three temperatures is always the best one, and 3.0 would gain
twice as much; at the 0.3 of the paper's demonstration the gain is 0.05 to 0.07. Alignment with a class mean is the measure of
these digits; the paper shows pictures.

https://github.com/314-Foundation/ExcitationPullbacks
"""

import torch
import torch.nn.functional as F
from scipy.stats import wilcoxon
from torch import Tensor, nn

from microtome.attribute import excitation_pullback, gradient
from microtome.organisms.fit import fit, seeded
from microtome.replicate import Claim
from microtome.rng import torch_rng
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject

CATALOG = ("attribute", 113)
SEEDS = (30, 31, 32)
BUDGET_SECONDS = 60
METHODS = ("microtome.attribute.excitation_pullback", "microtome.attribute.rules.gate_rules", "microtome.attribute.rules.mode")
TEMPERATURES, TEST, REDRAWN = (0.1, 0.3, 1.0), 120, 8
PLAN = (16, 16, 16, "pool", 32, 32, 32, "pool", 32, 32)

CLAIMS = [
    Claim("logits with the rules minus logits without: largest difference", "forward_change", 0.0, "<=",
          no_null="an identity of the engine"),
    Claim("the cold pullback (T = 1e-6) is the gradient: smallest cosine", "cold_cosine", 0.999, null="warm_cosine"),
    Claim("cosine with the class direction, above that of the gradient", "gain", 0.1, null="null_gain"),
    Claim("the same, paired: p", "gain_p", 1e-3, "<=", null="null_gain_p"),
    Claim("above the pullback of redrawn weights, paired: p", "over_random_p", 1e-3, "<=", null="random_over_random_p"),
    Claim("five steps towards a random class turn the prediction to it", "ascent", 0.8, null="random_direction_ascent"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Train one network and compare directions for all classes of the test images."""
    images, labels = digits(seed)
    train, x = images[TEST:], images[:TEST]
    net = seeded(vgg, seed, "pullback")
    fit(net, lambda step: F.cross_entropy(net(rows(train, step))[:, :10], rows(labels[TEST:], step)), 300, lr=3e-3)
    subject = Subject(net)
    twins = [subject.twin("reinit", seed=seed + 1000 * i) for i in range(REDRAWN)]
    class_means = torch.stack([train[labels[TEST:] == c].mean(0) for c in range(10)]) - train.mean(0)
    best = max(TEMPERATURES, key=lambda t: float(aligned(subject, train[:TEST], class_means, t).mean()))
    warm, plain = aligned(subject, x, class_means, best), aligned(subject, x, class_means, None)
    cooler = float((aligned(subject, x, class_means, 0.3) - plain).mean())
    random = [aligned(twin, x, class_means, best) for twin in twins]
    gains = [float((r - aligned(twin, x, class_means, None)).mean()) for r, twin in zip(random, twins)]
    target = (labels[:TEST] + torch.randint(1, 10, (TEST,), generator=torch_rng(seed, "targets"))) % 10
    cold = excitation_pullback(subject, asked(x, labels[:TEST]), temperature=1e-6)
    slope, mild = gradient(subject, asked(x, labels[:TEST])).values, excitation_pullback(subject, asked(x, labels[:TEST]))
    with torch.no_grad():
        exact = net(x)[torch.arange(TEST), labels[:TEST]]
        accuracy = (net(x)[:, :10].argmax(1) == labels[:TEST]).float().mean()
    return {
        "forward_change": float((cold.output - exact).abs().max()),
        "cold_cosine": float(cosine(cold.values, slope).min()), "warm_cosine": float(cosine(mild.values, slope).max()),
        "gain": float((warm - plain).mean()), "null_gain": sum(gains) / REDRAWN,
        "gain_p": better(warm, plain), "null_gain_p": better(plain, warm),
        "over_random_p": better(warm, random[0]), "random_over_random_p": better(random[0], warm),
        "ascent": ascent(subject, x, target, best), "random_direction_ascent": ascent(subject, x, target, None, seed),
        "temperature": best, "accuracy": float(accuracy), "plain_cosine": float(plain.mean()),
        "largest_null_gain": max(gains), "gain_at_0.3": cooler,
    }  # fmt: skip


def vgg() -> nn.Sequential:
    """Convolutions with batch norm and ReLU, max pools, a linear head; one more logit is always 0."""
    parts: list[nn.Module] = []
    channels = 1
    for width in PLAN:
        if isinstance(width, str):
            parts.append(nn.MaxPool2d(2))
            continue
        parts += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(channels * 4, 10), nn.ZeroPad1d((0, 1)))


def digits(seed: int) -> tuple[Tensor, Tensor]:
    """Images [n, 1, 8, 8] in [0, 1] and labels, in an order of the seed."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch_rng(seed, "digits"))
    return torch.tensor(data.images / 16.0, dtype=torch.float32)[order, None], torch.tensor(data.target)[order]


def rows(values: Tensor, step: int, size: int = 64) -> Tensor:
    return values[torch.arange(step * size, step * size + size) % len(values)]


def asked(x: Tensor, classes: Tensor) -> Task:
    """The logit of a class: its difference from a class whose logit is always 0."""
    return Task("digit", x, x.flip(0), classes, torch.full_like(classes, 10), kind="image", groups=list(range(len(x))))


def direction(subject: Subject, x: Tensor, classes: Tensor, temperature: float | None) -> Tensor:
    """Pullback, or the gradient without a temperature."""
    t = asked(x, classes)
    return (gradient(subject, t) if temperature is None else excitation_pullback(subject, t, temperature=temperature)).values


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return F.cosine_similarity(a.flatten(1), b.flatten(1))


def aligned(subject: Subject, x: Tensor, means: Tensor, temperature: float | None) -> Tensor:
    """Cosine with the class's own direction, for each image and class [10, n]."""
    return torch.stack([cosine(direction(subject, x, torch.full((len(x),), c), temperature), means[c].expand_as(x))
                        for c in range(10)])  # fmt: skip


def better(a: Tensor, b: Tensor) -> float:
    """p of the paired test that a is larger; images are the unit, so classes are averaged."""
    return float(wilcoxon(a.mean(0).numpy(), b.mean(0).numpy(), alternative="greater").pvalue)


def ascent(subject: Subject, x: Tensor, target: Tensor, temperature: float | None, seed: int = 0) -> float:
    """Share of images that five steps of a fifth of their norm bring to the target; random directions without T."""
    size = x.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
    for step in range(5):
        if temperature is None:
            push = torch.randn(x.shape, generator=torch_rng(seed, "random direction", step))
        else:
            push = direction(subject, x, target, temperature)
        x = (x + 0.2 * size * push / push.flatten(1).norm(dim=1).clamp(min=1e-12).reshape(-1, 1, 1, 1)).clamp(0, 1)
    with torch.no_grad():
        return float((subject.module(x)[:, :10].argmax(1) == target).float().mean())

"""Han et al. (2024), sharing ratio decomposition: places share relevance by what they add to the vector at the place above.

A network of six convolutions tells four shapes apart, each at a random place of a picture of 24 x 24 pixels, with a patch of
bright noise that says nothing beside it. It trains with batch norms, which are folded into the convolutions before anything
is explained. Ratios, written out pair by pair from the definition, add up to 1 at every place of every layer, and receptive
fields that are built forwards give the same map as relevance that is passed backwards. The map's maximum lies on the object;
the null is the same network with redrawn weights. Gates of the ReLUs alone, run on a picture of ones, carry the class; the
null is the gates of other pictures. Under noise on the pictures the map changes less than the gradient does; the null is the
map of another picture.

Two forms before, with three convolutions and no norms, did not hold. On seeds 0 to 2, after 400 steps, accuracy was 0.78 to
0.94 and the pointing game 0.69 to 0.92, short of 0.85. On seeds 5 to 7, after 900, gates alone were above the percentile by
0, 0.13 and 0.01, and the rank correlation under noise above the gradient's by lower ends of -0.02, 0.09 and 0.04. That
network was too shallow: the paper's have 13 and more layers with norms. With six, after 300 steps (seeds 100 and 101), gates
alone are right on 0.64 and 0.95 of the pictures where those of others are on 0.31 at most (on zeros on all, on noise on 0.55
and 0.61), and correlations are 0.76 and 0.80 where the gradient's are 0.42 and 0.50: gates of more layers are more of one
class, and the gradient breaks up with depth, which sums over channels and places do not. Depth and norms were not tried
apart. So the margin over gates of other pictures is asked to be 0.1 again, as before the first calibration (it had been
lowered to 0.01). Calibrated on seeds 20 to 23. Without the patch of noise a redrawn network points at the object as well,
which is all there is to see.

Limits. The identities are checked in float64 on one picture, since pairs of places are many. How the bias and the class
enter is reconstructed from the paper's description. On ones the gates of one class take most of the pictures still in some
networks.

https://arxiv.org/abs/2402.03348
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from microtome.attribute import gradient, pattern_logits, srd
from microtome.organisms.fit import fit, seeded
from microtome.replicate import Claim
from microtome.rng import rng, torch_rng
from microtome.stimuli.task import Task
from microtome.stimuli.vision.draw import object_mask
from microtome.subject.subject import Subject

CATALOG = ("attribute", 14)
SEEDS = (30, 31, 32)
BUDGET_SECONDS = 60
METHODS = (
    "microtome.attribute.srd", "microtome.attribute.rules.sharing", "microtome.attribute.activation_pattern",
    "microtome.attribute.rules.mode",
)  # fmt: skip
CLASSES, SIDE, TEST, HEAD = 4, 24, 200, 14

CLAIMS = [
    Claim("ratios at a place add up to 1: largest error", "ratio_error", 1e-4, "<=", null="ratio_error_without_bias"),
    Claim("receptive fields forwards are relevance backwards: largest difference", "forward_error", 1e-4, "<=",
          null="gradient_error"),
    Claim("pointing game: the maximum lies on the object", "pointing", 0.85, null="random_pointing"),
    Claim("the same, above redrawn weights", "pointing_gain", 0.3, null="between_random"),
    Claim("accuracy by gates alone, above the 95th percentile with gates of other pictures", "pattern_gain", 0.1,
          null="other_pattern_gain"),
    Claim("rank correlation under noise, above that of the gradient: lower end of the 95% interval", "stability_low", 0.0,
          null="other_stability_low"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Train one network; check the identities, the game, the gates and the noise."""
    x, y, where = scenes(4800 + TEST, seed)
    net = network(seed)
    fit(net, lambda step: F.cross_entropy(net(rows(x[TEST:], step))[:, :CLASSES], rows(y[TEST:], step)), 300, lr=4e-3)
    net = folded(net)
    x, y, where = x[:TEST], y[:TEST], where[:TEST]
    subject, task = Subject(net), asked(x, y)
    random, another = subject.twin("reinit", seed=seed), subject.twin("reinit", seed=seed + 100)
    maps = {name: srd(s, task).values[:, 0] for name, s in (("net", subject), ("random", random), ("another", another))}
    game = {name: hits(m, where) for name, m in maps.items()}
    slope = gradient(subject, task).values[:, 0]
    noisy = asked(x + 0.1 * torch.randn(x.shape, generator=torch_rng(seed, "noise")), y)
    again, slope_again = srd(subject, noisy).values[:, 0], gradient(subject, noisy).values[:, 0]
    steady, plain = ranks(maps["net"], again), ranks(slope, slope_again)
    # Gates: of the picture itself, of 50 shuffles, and of one more.
    own = gate_accuracy(subject, x, y)
    shuffles = [torch.from_numpy(rng(seed, "gates", k).permutation(TEST).copy()) for k in range(51)]
    others = [gate_accuracy(subject, x[k], y) for k in shuffles]
    bound, draws = float(np.percentile(others[:50], 95)), rng(seed, "bootstrap").integers(0, TEST, (1000, TEST))
    return {
        **identities(copy.deepcopy(net).double(), x[:1].double(), y[:1]),
        "pointing": game["net"], "random_pointing": game["random"], "pointing_gain": game["net"] - game["random"],
        "between_random": game["another"] - game["random"],
        "pattern_gain": own - bound, "other_pattern_gain": others[50] - bound,
        "stability_low": float(np.percentile((steady - plain)[draws].mean(1), 2.5)),
        "other_stability_low": float(np.percentile((ranks(maps["net"], again.roll(1, 0)) - plain)[draws].mean(1), 2.5)),
        "accuracy": gate_accuracy(subject, x, y, x), "gate_accuracy": own, "stability": float(steady.mean()),
        "gradient_stability": float(plain.mean()), "gradient_pointing": hits(slope.abs(), where),
    }  # fmt: skip


def network(seed: int) -> nn.Sequential:
    """Six convolutions with batch norms, two pools, a global mean, a linear head, and a logit that is always 0."""

    def make() -> nn.Sequential:
        parts: list[nn.Module] = []
        for below, width in ((1, 12), (12, 12), (0, 0), (12, 24), (24, 24), (0, 0), (24, 32), (32, 32)):
            parts += [nn.Conv2d(below, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()] if width else [nn.MaxPool2d(2)]
        return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES), nn.ZeroPad1d((0, 1)))

    return seeded(make, seed, "srd")


def folded(net: nn.Sequential) -> nn.Sequential:
    """The same function without batch norms."""
    layers = list(net.eval())
    return nn.Sequential(*[
        fuse_conv_bn_eval(layer, layers[i + 1]) if isinstance(layer, nn.Conv2d) else layer
        for i, layer in enumerate(layers) if not isinstance(layer, nn.BatchNorm2d)
    ])  # fmt: skip


def scenes(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures [n, 1, 24, 24], the shape of each, and where it is [n, 24, 24]."""
    g = rng(seed, "one object")
    shapes, size = g.integers(0, CLASSES, n), g.uniform(4, 5.5, n).astype(np.float32)
    cy, cx = g.uniform(6, SIDE - 6, (2, n)).astype(np.float32)
    inside = object_mask(shapes, cy, cx, size)[:, :SIDE, :SIDE]
    image = g.normal(0, 0.1, (n, SIDE, SIDE)) + inside * g.uniform(0.7, 1.0, (n, 1, 1))
    for k in range(n):  # a patch without meaning, away from the object
        top, left = (int(8 * ((c + SIDE / 2) % SIDE) // 12) for c in (cy[k], cx[k]))
        image[k, top : top + 8, left : left + 8] = np.where(
            inside[k, top : top + 8, left : left + 8] > 0, image[k, top : top + 8, left : left + 8], g.uniform(0, 1.2, (8, 8))
        )
    return torch.tensor(image[:, None], dtype=torch.float32), torch.tensor(shapes), torch.tensor(inside > 0)


def rows(values: Tensor, step: int, size: int = 48) -> Tensor:
    return values[torch.arange(step * size, step * size + size) % len(values)]


def asked(x: Tensor, classes: Tensor) -> Task:
    """The logit of a class: its difference from the one that is always 0."""
    return Task("shape", x, x.flip(0), classes, torch.full_like(classes, CLASSES), kind="image", groups=list(range(len(x))))


def hits(maps: Tensor, where: Tensor) -> float:
    return float(where.flatten(1).gather(1, maps.flatten(1).argmax(1, keepdim=True)).float().mean())


def ranks(a: Tensor, b: Tensor) -> np.ndarray:
    return np.array([spearmanr(u, v).statistic for u, v in zip(a.flatten(1).numpy(), b.flatten(1).numpy())])


def gate_accuracy(subject: Subject, x: Tensor, y: Tensor, carrier: Tensor | None = None) -> float:
    return float((pattern_logits(subject, x, carrier)[:, :CLASSES].argmax(1) == y).float().mean())


def identities(net: nn.Sequential, x: Tensor, y: Tensor) -> dict[str, float]:
    """Ratios of one picture pair by pair, receptive fields forwards, and the map backwards."""
    field, value, errors, bare = torch.eye(x[0].numel(), dtype=torch.float64), x, [0.0], [0.0]
    for layer in net[:HEAD]:
        if not isinstance(layer, nn.ReLU):
            ratio, without = ratios(layer, value)
            errors.append(float((ratio.sum(0) - 1).abs().max()))
            bare.append(float((without.sum(0) - 1).abs().max()))
            field = ratio.T @ field
        value = layer(value).detach()
    leaf = value.requires_grad_(True)
    share = (leaf * torch.autograd.grad(net[HEAD:](leaf)[0, int(y)], leaf)[0]).detach().sum(1).flatten()
    task, forwards = asked(x, y), share @ field
    found, slope = (method(Subject(net), task).values.flatten() for method in (srd, gradient))
    return {
        "ratio_error": max(errors), "ratio_error_without_bias": max(bare),
        "forward_error": float((forwards - found).abs().max()), "gradient_error": float((forwards - slope).abs().max()),
    }  # fmt: skip


@torch.no_grad()
def ratios(layer: nn.Module, value: Tensor) -> tuple[Tensor, Tensor]:
    """mu [places in, places out], with and without the bias's share; one place at a time by switching off the others."""
    places = value[0, 0].numel()
    alone = torch.eye(places, dtype=value.dtype).reshape(places, 1, *value.shape[2:])
    if isinstance(layer, nn.Conv2d):
        add = F.conv2d(value * alone, layer.weight, padding=layer.padding)
        reach = F.conv2d(alone, torch.ones_like(layer.weight[:1, :1]), padding=layer.padding)
        full = add + reach / reach.sum(0, keepdim=True) * layer.bias[:, None, None]  # pyright: ignore[reportOptionalSubscript]
    else:
        _, at = F.max_pool2d(value, 2, return_indices=True)
        full = add = (value * alone).flatten(2).gather(2, at.flatten(2).expand(places, -1, -1)).view(places, *at.shape[1:])
    u = layer(value)
    return tuple((part * u).sum(1).flatten(1) / u.square().sum(1).flatten() for part in (full, add))  # pyright: ignore

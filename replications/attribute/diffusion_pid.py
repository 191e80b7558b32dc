"""Dewan et al. (2024), DiffusionPID: what two words say about a picture together, each alone, and both the same.

Pictures are points of the plane from mixtures of Gaussians whose best denoiser is known. The integral over noise is the exact
log ratio of densities (null: conditions of other points). A word said twice is redundant; two words whose XOR sets the mean
are synergetic; two words for two coordinates are unique, each in its own. The same words, heard by small networks that learn
to denoise with words dropped at random, give the same signs; a network trained on shuffled words hears nothing.

Redundancy is the minimum of the two informations, coordinate by coordinate: the paper's functional could not be verified, and
no image model is at hand, so bias, homonyms and prompt pruning are not repeated. Networks are integrated over log-SNRs of -6
to 6, where they were trained.

https://arxiv.org/abs/2406.05191
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from microtome.attribute.diffusion_pid import diffusion_pid, information
from microtome.organisms.fit import fit
from microtome.organisms.small import perceptron
from microtome.replicate import Claim
from microtome.rng import torch_rng
from microtome.stimuli.mixtures import Mixture

CATALOG = ("attribute", 226)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 90
METHODS = ("microtome.attribute.diffusion_pid", "microtome.stimuli.mixtures")
POINTS, STEPS, REACH = 200, 1500, 6.0
#: Means of the components (first word, second word) = 00, 01, 10, 11.
WORLDS = {
    "separate": [[-2.0, -2.0], [-2.0, 2.0], [2.0, -2.0], [2.0, 2.0]],
    "xor": [[-2.0, -1.0], [2.0, 1.0], [2.0, 1.0], [-2.0, -1.0]],
    "copy": [[-2.0, 0.0], [2.0, 0.0]],
}
NONE, HEARD = 2, 3  # a word is 0, 1, or not said

CLAIMS = [
    Claim("information is the exact log ratio: relative error of mean", "ratio_error", 0.02, "<=", null="other_ratio_error"),
    Claim("a word said twice: redundancy is all that one says, nats off", "copy_error", 0.03, "<=", null="separate_error"),
    Claim("and nothing is unique or synergetic, nats", "copy_rest", 0.03, "<=", null="separate_rest"),
    Claim("XOR: one word alone says nothing, nats", "xor_alone", 0.03, "<=", null="separate_alone"),
    Claim("XOR: synergy as a share of all", "xor_synergy", 0.9, null="separate_synergy"),
    Claim("two coordinates: the unique part of a word in its own", "own_coordinate", 0.95, null="other_coordinate"),
    Claim("a network trained on shuffled words hears nothing: largest atom, nats", "shuffled", 0.03, "<=", null="not_shuffled"),
    Claim("trained network: redundancy as a share, a word said twice", "learned_copy", 0.5, null="learned_xor_redundancy"),
    Claim("trained network: synergy as a share, XOR", "learned_xor", 0.5, null="learned_copy_synergy"),
    Claim("trained network: unique parts as a share, two coordinates", "learned_separate", 0.5, null="learned_copy_unique"),
]


def run(seed: int) -> dict[str, float]:
    """Exact denoisers, then trained ones."""
    exact = {name: atoms(*world(name, seed), seed) for name in WORLDS}
    learned = {name: atoms(*learnt(name, seed), seed, REACH) for name in WORLDS}
    silent = atoms(*learnt("separate", seed, shuffled=True), seed, REACH)
    one = {name: part[0].sum() + part[1].sum() for name, part in exact.items()}
    share = {name: part.sum(1) / part.sum() for name, part in learned.items()}
    return {
        **ratios(seed), "copy_error": gap(exact["copy"][0].sum(), one["copy"]),
        "separate_error": gap(exact["separate"][0].sum(), one["separate"]),
        "copy_rest": float(exact["copy"][1:].sum(1).abs().max()), "separate_rest": float(exact["separate"][1:].sum(1).max()),
        "xor_alone": float(one["xor"]), "separate_alone": float(one["separate"]),
        "xor_synergy": float(exact["xor"][3].sum() / exact["xor"].sum()),
        "separate_synergy": float(exact["separate"][3].sum() / exact["separate"].sum()),
        "own_coordinate": float(exact["separate"][1, 0] / exact["separate"][1].sum()),
        "other_coordinate": float(exact["separate"][2, 0] / exact["separate"][2].sum()),
        "shuffled": float(silent.sum(1).abs().max()), "not_shuffled": float(learned["separate"].sum(1).abs().max()),
        "learned_copy": float(share["copy"][0]), "learned_copy_synergy": float(share["copy"][3]),
        "learned_copy_unique": float(share["copy"][1] + share["copy"][2]),
        "learned_xor": float(share["xor"][3]), "learned_xor_redundancy": float(share["xor"][0]),
        "learned_separate": float(share["separate"][1] + share["separate"][2]),
    }  # fmt: skip


def gap(a: Tensor, b: Tensor) -> float:
    return abs(float(a - b))


def atoms(denoiser: Callable, x: Tensor, prompts: tuple, seed: int, span: float = 12.0) -> Tensor:
    """Mean atoms [4, coordinate] in nats."""
    return diffusion_pid(denoiser, x, prompts, nodes=48, draws=32, span=span, seed=seed).values.double().mean(0)


def ratios(seed: int) -> dict[str, float]:
    """The integral against log p(x | y) / p(x), with the point's own word and with the other."""
    mixture, x, (_, first, _, _) = world("separate", seed)
    exact = (mixture.log_density(x, first) - mixture.log_density(x)).mean()
    found = [information(mixture, x, None, [c], form="direct", nodes=64, draws=128, seed=seed)[0][0].sum(1).mean()
             for c in (first, first.roll(1, 0))]  # fmt: skip
    return {"ratio_error": gap(found[0], exact) / float(exact), "other_ratio_error": gap(found[1], exact) / float(exact)}


def world(name: str, seed: int) -> tuple[Mixture, Tensor, tuple]:
    """A mixture, points, and which components each prompt leaves possible."""
    mixture = Mixture(torch.tensor(WORLDS[name], dtype=torch.float64), 0.25)
    x, k = mixture.draw(POINTS, seed)
    words, all_words = spoken(name, k), spoken(name, torch.arange(len(mixture.means)))
    first, second = (words[:, j, None] == all_words[None, :, j] for j in (0, 1))
    return mixture, x, (None, first, second, first & second)


def spoken(name: str, k: Tensor) -> Tensor:
    """The two words [n, 2] of components."""
    return torch.stack([k, k] if name == "copy" else [k // 2, k % 2], dim=1)


class Denoiser(nn.Module):
    """Expected noise: the linear answer and a correction by a perceptron that hears the words."""

    def __init__(self, seed: int):
        super().__init__()
        self.net = perceptron([3 + 2 * HEARD, 64, 64, 2], activation=nn.SiLU, seed=seed)

    def forward(self, noisy: Tensor, log_snr: Tensor, words: Tensor) -> Tensor:
        s = torch.sigmoid(log_snr)[:, None].float()
        heard = nn.functional.one_hot(words, HEARD).flatten(1).float()
        correction = self.net(torch.cat([noisy.float(), log_snr[:, None].float() / REACH, heard], dim=1))
        return (1 - s).sqrt() * noisy.float() + s.sqrt() * correction


def learnt(name: str, seed: int, *, shuffled: bool = False) -> tuple[Denoiser, Tensor, tuple[Any, ...]]:
    """A network that learnt to denoise with each word dropped half of the time, points and prompts."""
    mixture, net, g = Mixture(torch.tensor(WORLDS[name]), 0.25), Denoiser(seed), torch_rng(seed, name, str(shuffled))
    pool, k = mixture.draw(20_000, seed + 1000)
    words = spoken(name, k[torch.randperm(len(k), generator=g)] if shuffled else k)

    def loss(_: int) -> Tensor:
        rows = torch.randint(len(pool), (256,), generator=g)
        a = (2 * torch.rand(256, generator=g) - 1) * REACH
        said = torch.where(torch.rand(256, 2, generator=g) < 0.5, words[rows], NONE)
        noise, s = torch.randn(256, 2, generator=g), torch.sigmoid(a)[:, None]
        return (net(s.sqrt() * pool[rows] + (1 - s).sqrt() * noise, a, said) - noise).square().mean()

    fit(net, loss, STEPS, lr=5e-3)
    x, k = mixture.draw(POINTS, seed)
    own = spoken(name, k)
    mute = torch.full_like(own, NONE)
    first, second = (torch.where(torch.arange(2) == j, own, mute) for j in (0, 1))
    return net.requires_grad_(False), x, (mute, first, second, own)

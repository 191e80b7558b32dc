"""Tolooshams et al. (2025), Sparse Autoencoder Neural Operators: kernels as Fourier multipliers belong to no grid.

Functions on a circle, 64 points: three of five smooth kernels (bumps, their derivatives, ripples) at random places. A
dictionary whose kernels are 12 Fourier coefficients recovers them up to shifts, and rebuilds the same functions on 128 and 256
points as well as on 64; a convolutional dictionary of 15 taps, fitted in the same way, does not. A pointwise lifting before and
after the operator leaves what it can express as it is, and trains in fewer steps. With all modes kept, operator and convolution
are one map. Nulls: the operator before training; the convolution; a second plain operator from another start.

Limits: one dimension, planted functions. Faster training by lifting is a change of the metric in which Adam steps; whether a
plain operator with another learning rate gets there as fast is not asked.

https://arxiv.org/abs/2509.03738
"""

import math

import torch
from torch import Tensor

from microtome.decompose import FunctionDictionary, convolutional_sae, sae_neural_operator
from microtome.decompose.functions import kernel_match
from microtome.decompose.judge import fvu
from microtome.replicate import Claim
from microtome.rng import torch_rng
from microtome.subject.recording import Recording

CATALOG = ("decompose", 74)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 60
METHODS = ("microtome.decompose.sae_neural_operator", "microtome.decompose.functions", "microtome.decompose.train")
POINTS, FINE, ODD, ROWS, ACTIVE, LIFT = 64, (128, 256), 33, 2000, 3, 4
SETTINGS = {"latents": 5, "iterations": 1, "l1": 0.15, "steps": 600, "batch": 64}

CLAIMS = [
    Claim("kernels: mean largest cosine over shifts", "match", 0.8, null="start_match"),
    Claim("the operator before training", "start_match", 0.65, "<=", null="match"),
    Claim("largest error on 128 and 256 points over that on 64", "fine", 1.1, "<=", null="local_fine"),
    Claim("the same of the convolution", "local_fine", 1.3, null="fine"),
    Claim("all modes kept: largest difference from a circular convolution with these weights", "same", 1e-5, "<=",
          null="truncated"),
    Claim("steps to the plain operator's final error, lifted over plain", "steps", 0.8, "<=", null="steps_plain",
          over="median"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Fit three dictionaries on one grid and judge them on others."""
    x, test = functions(ROWS, seed, "train", (POINTS,))[POINTS], functions(500, seed, "test", (POINTS, *FINE))
    recording, true = Recording.of(x, site="waves"), kernels(POINTS)
    plain, local = sae_neural_operator(recording, seed=seed, **SETTINGS), convolutional_sae(recording, seed=seed, **SETTINGS)
    lifted = sae_neural_operator(recording, lift=LIFT, seed=seed, **SETTINGS)
    other = sae_neural_operator(recording, seed=seed + 100, **SETTINGS)
    start = sae_neural_operator(recording, seed=seed, **SETTINGS | {"steps": 1})
    errors = {name: [fvu(f, rebuilt(sae.at(n), f)) for n, f in test.items()] for name, sae in (("fno", plain), ("cnn", local))}
    judged = (("", plain), ("start_", start), ("local_", local))
    match = {name: float(kernel_match(sae.kernels, true).mean()) for name, sae in judged}
    return {
        **{f"{name}match": value for name, value in match.items()},
        "fine": max(errors["fno"][1:]) / errors["fno"][0], "local_fine": max(errors["cnn"][1:]) / errors["cnn"][0],
        "fvu": errors["fno"][0], "local_fvu": errors["cnn"][0],
        "same": equivalence(seed, ODD // 2 + 1), "truncated": equivalence(seed, ODD // 4),
        "steps": reached(lifted, plain) / reached(plain, plain), "steps_plain": reached(other, plain) / reached(plain, plain),
    }  # fmt: skip


def rebuilt(sae: FunctionDictionary, x: Tensor) -> Tensor:
    """Functions from their codes."""
    return sae.decode(sae.encode(x))


def reached(sae: FunctionDictionary, goal: FunctionDictionary) -> float:
    """First point of the curve at which the error is down to the last one of another training; past the end if never."""
    curve, target = sae.history["fvu"], sum(goal.history["fvu"][-5:]) / 5
    smooth = [sum(curve[i : i + 5]) / 5 for i in range(len(curve) - 4)]
    at = next((i for i, value in enumerate(smooth) if value <= target), len(smooth))
    return float(at + 1)


def equivalence(seed: int, modes: int) -> float:
    """Largest difference between an operator with some modes of random kernels and the convolution with these kernels."""
    g = torch_rng(seed, "equivalence")
    read, write = torch.randn(2, 3, ODD, generator=g, dtype=torch.float64) / ODD**0.5
    about = {"threshold": torch.full((3,), 0.1).double(), "offset": torch.zeros(()).double(), "points": ODD, "iterations": 2}
    spectra = [torch.view_as_real(torch.fft.rfft(w)[:, :modes]) for w in (read, write)]
    operator = FunctionDictionary("waves", read=spectra[0], write=spectra[1], **about)
    convolution = FunctionDictionary("waves", read=read.roll(ODD // 2, 1), write=write.roll(ODD // 2, 1), **about)
    x = torch.randn(50, ODD, generator=g, dtype=torch.float64)
    return float((rebuilt(operator, x) - rebuilt(convolution, x)).abs().max())


def kernels(points: int) -> Tensor:
    """Five kernels [5, points], of norm 1 on their grid."""
    t = torch.remainder(torch.arange(points) / points + 0.5, 1) - 0.5
    wide, narrow = torch.exp(-((t / 0.1) ** 2)), torch.exp(-((t / 0.05) ** 2))
    ripples, sawtooth = torch.cos(12 * math.pi * t) * wide, (t > 0) * t * wide
    found = torch.stack([wide, t * narrow, (1 - 2 * (t / 0.05) ** 2) * narrow, ripples, sawtooth])
    return found / found.square().mean(1, keepdim=True).sqrt()


def functions(n: int, seed: int, name: str, grids: tuple[int, ...]) -> dict[int, Tensor]:
    """The same functions on several grids: three different kernels each, at random places, weights of 0.5 to 1.5."""
    g = torch_rng(seed, "functions", name)
    which = torch.rand(n, 5, generator=g).argsort(1)[:, :ACTIVE]
    weight, shift = 0.5 + torch.rand(n, ACTIVE, generator=g), torch.rand(n, ACTIVE, 1, generator=g)
    out = {}
    for points in grids:
        coefficients = torch.fft.rfft(kernels(points))[which]
        turn = torch.exp(-2j * math.pi * torch.arange(points // 2 + 1) * shift)
        out[points] = torch.fft.irfft((weight[..., None] * coefficients * turn).sum(1), points)
    return out

"""Becker et al. (2018), LRP for sound: relevance of samples and of bins, and tests of what it says by changing the sound.

Clips have a voice at one of two pitches and a chirp whose shape stands for the digit. A one-dimensional network tells the
digit from the wave, a network on spectrograms tells the voice; both are without biases. Silencing the tenth of the samples
with the largest |relevance| costs the digit far more accuracy than silencing random samples (lower end of the 95% interval
over clips; null: a second random choice) and, as a figure, than silencing the largest amplitudes. Positive relevance for the
voice lies at the fundamental and its harmonics, though chirps are as loud; nulls are the share of these bins and a network
with redrawn weights. That makes a hypothesis, which is tested: stretching the frequency axis by the ratio of the two pitches
turns one voice into the other (null: by 2%). With the epsilon rule relevance adds up to the logit; the null is a network
with biases.

The corpus of spoken digits is not at hand: voices are sums of harmonics, and there are no speakers to keep apart.

https://arxiv.org/abs/1807.03418
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import microtome as mt
from microtome.attribute import lrp
from microtome.organisms.fit import fit, seeded
from microtome.replicate import Claim
from microtome.rng import rng
from microtome.stimuli.audio import DIGITS, PITCH, clips, harmonic_bins, scaled, spectrogram
from microtome.stimuli.task import Task

CATALOG = ("attribute", 53)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 90
METHODS = ("microtome.attribute.lrp", "microtome.attribute.rules.lrp_rules", "microtome.stimuli.audio")
TRAIN, TEST, SHARE = 4000, 200, 0.1
RATIO = PITCH[1] / PITCH[0]

CLAIMS = [
    Claim("digits from the wave: accuracy", "digit_accuracy", 0.9, null="untrained_digit_accuracy"),
    Claim("voices from the spectrogram: accuracy", "voice_accuracy", 0.9, null="untrained_voice_accuracy"),
    Claim("silencing relevant samples costs this many points more than random ones", "zeroed", 15.0, null="zeroed_random"),
    Claim("lower end of its interval over clips", "zeroed_low", 0.1, null="zeroed_random_low"),
    Claim("positive relevance at the harmonics: share", "harmonics", 0.6, null="random_harmonics"),
    Claim("above the share of these bins", "over_uniform", 0.5, null="random_over_uniform"),
    Claim("stretching the frequency axis flips the voice", "flipped", 0.6, null="flipped_little"),
    Claim("epsilon rule: relevance missing from the logit of digits", "digit_residual", 0.05, "<=", null="biased_residual"),
    Claim("the same for voices", "voice_residual", 0.05, "<=", null="biased_residual"),
]


def run(seed: int) -> dict[str, float]:
    """Train both networks, attribute, change the sound."""
    train, test = clips(TRAIN, seed), clips(TEST, seed + 1000)
    digits, voices = mt.Subject(wave_net(seed)), mt.Subject(spectral_net(seed))
    before = accuracy(digits, test.wave[:, None], test.digit), accuracy(voices, spectrogram(test.wave), test.voice)
    random_voices = voices.twin("reinit", seed=seed)
    learn(digits, train.wave[:, None], train.digit, 600)
    learn(voices, spectrogram(train.wave), train.voice, 200)
    seen, spectra = test.wave[:, None], spectrogram(test.wave)
    inside = harmonic_bins(test.pitch)
    found, drawn = (harmonic_share(s, spectra, inside) for s in (voices, random_voices))
    uniform = float(inside.float().mean())
    factor = torch.where(test.voice == 0, RATIO, 1 / RATIO)
    right = winners(voices, spectra) == test.voice
    flips = [float((winners(voices, scaled(spectra, f)) != test.voice)[right].float().mean())
             for f in (factor, torch.full_like(factor, 1.02))]  # fmt: skip
    biased = mt.Subject(wave_net(seed, bias=True))
    return {
        "digit_accuracy": accuracy(digits, seen, test.digit), "voice_accuracy": accuracy(voices, spectra, test.voice),
        "untrained_digit_accuracy": before[0], "untrained_voice_accuracy": before[1],
        **silenced(digits, seen, test.digit, seed), "harmonics": found, "random_harmonics": drawn,
        "over_uniform": found - uniform, "random_over_uniform": drawn - uniform, "uniform": uniform,
        "flipped": flips[0], "flipped_little": flips[1], "digit_residual": missing(digits, seen),
        "voice_residual": missing(voices, spectra), "biased_residual": missing(biased, seen),
    }  # fmt: skip


def wave_net(seed: int, *, bias: bool = False) -> nn.Sequential:
    """Four strided convolutions over samples, their mean, digits, and a logit that is always 0."""
    sizes = ((1, 16, 16, 4), (16, 24, 8, 4), (24, 32, 8, 2), (32, 32, 5, 2))
    return seeded(lambda: nn.Sequential(
        *(part for i, o, k, s in sizes for part in (nn.Conv1d(i, o, k, s, bias=bias), nn.ReLU())),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, DIGITS, bias=bias), nn.ZeroPad1d((0, 1)),
    ), seed, "audio wave")  # fmt: skip


def spectral_net(seed: int) -> nn.Sequential:
    """Two convolutions over bins and frames, voices, and a logit that is always 0."""
    return seeded(lambda: nn.Sequential(
        nn.Conv2d(1, 8, (7, 1), (2, 1), bias=False), nn.ReLU(), nn.Conv2d(8, 8, (7, 3), (3, 1), bias=False), nn.ReLU(),
        nn.Flatten(), nn.Linear(8 * 24 * 3, 2, bias=False), nn.ZeroPad1d((0, 1)),
    ), seed, "audio spectra")  # fmt: skip


def learn(subject: mt.Subject, x: Tensor, y: Tensor, steps: int) -> None:
    classes = int(y.max()) + 1

    def loss(step: int) -> Tensor:
        at = torch.arange(step * 64, step * 64 + 64) % len(x)
        return F.cross_entropy(subject.module(x[at])[:, :classes], y[at])

    fit(subject.module, loss, steps, lr=5e-3)


@torch.no_grad()
def winners(subject: mt.Subject, x: Tensor) -> Tensor:
    return subject.module(x)[:, :-1].argmax(1)


def accuracy(subject: mt.Subject, x: Tensor, y: Tensor) -> float:
    return float((winners(subject, x) == y).float().mean())


def asked(subject: mt.Subject, x: Tensor) -> Task:
    """The winning logit: its difference from the one that is always 0."""
    said = winners(subject, x)
    with torch.no_grad():
        zero = subject.module(x[:1]).shape[1] - 1
    return Task("winner", x, x.flip(0), said, torch.full_like(said, zero), kind="image", groups=list(range(len(x))))


def relevance(subject: mt.Subject, x: Tensor) -> Tensor:
    """Relevance of each sample or bin: epsilon in dense layers, alpha 2 and beta 1 in convolutions."""
    return lrp(subject, asked(subject, x), composite="epsilon_alpha2_beta1", at="0:input").values


def missing(subject: mt.Subject, x: Tensor) -> float:
    """Sum of what is missing from the winning logits, as a share of them, with the epsilon rule."""
    found = lrp(subject, asked(subject, x), composite="epsilon", at="0:input")
    return float((found.values.flatten(1).sum(1) - found.output).abs().sum() / found.output.abs().sum())


def silenced(subject: mt.Subject, x: Tensor, y: Tensor, seed: int) -> dict[str, float]:
    """Points of accuracy lost, beyond a random choice, by silencing samples of large relevance, another choice, loud ones."""
    draw, count = rng(seed, "silenced"), round(SHARE * x.shape[2])
    chance = [torch.from_numpy(draw.random((len(x), x.shape[2])).argsort(1)[:, :count].copy()) for _ in range(2)]
    first = [scores.abs()[:, 0].topk(count, dim=1).indices for scores in (relevance(subject, x), x)]
    right = [(winners(subject, x.scatter(2, at[:, None], 0.0)) == y).float().numpy() for at in (*first, *chance)]
    rows = rng(seed, "clips").integers(0, len(x), (1000, len(x)))
    gain = [100 * (right[2] - other) for other in right]
    return {
        "zeroed": float(gain[0].mean()), "zeroed_random": float(gain[3].mean()), "zeroed_loud": float(gain[1].mean()),
        "zeroed_low": float(np.percentile(gain[0][rows].mean(1), 2.5)),
        "zeroed_random_low": float(np.percentile(gain[3][rows].mean(1), 2.5)),
    }  # fmt: skip


def harmonic_share(subject: mt.Subject, x: Tensor, inside: Tensor) -> float:
    """Share of the positive relevance that lies at harmonics."""
    positive = relevance(subject, x).clamp(min=0)[:, 0].sum(2)
    return float((positive * inside).sum() / positive.sum().clamp(min=1e-12))

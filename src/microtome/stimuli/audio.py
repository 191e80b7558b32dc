"""Spoken digits without speech: a voice at the pitch of a woman or a man, and a chirp whose shape is the digit."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from microtome.errors import UsageError
from microtome.rng import rng

RATE, SAMPLES, DIGITS = 8000, 1024, 5
#: Pitch of the two voices in Hz, its spread between speakers, and harmonics.
PITCH, SPREAD, HARMONICS = (120.0, 210.0), 0.06, 6
#: A chirp: its length in samples, and the frequencies between which it moves.
CHIRP, LOW, HIGH = 480, 700.0, 2300.0
#: Analysis windows, and how many bins (of RATE / WINDOW Hz) are kept.
WINDOW, HOP, BINS = 512, 128, 160


@dataclass(frozen=True, eq=False)
class Clips:
    """Sound with what it is made of.

    Attributes
    ----------
    wave : Tensor[n, samples]
        At 8 kHz.
    digit : LongTensor[n]
        Shape of the chirp: rising, falling, up and down, down and up, level.
    voice : LongTensor[n]
        0 low, 1 high.
    pitch : Tensor[n]
        Fundamental frequency in Hz.
    chirp : BoolTensor[n, samples]
        Where the chirp is.
    """

    wave: Tensor
    digit: Tensor
    voice: Tensor
    pitch: Tensor
    chirp: Tensor


def clips(n: int, seed: int = 0, *, noise: float = 0.1, samples: int = SAMPLES) -> Clips:
    """Draw `n` clips: voice and digit are independent.

    Examples
    --------
    >>> found = clips(3, seed=0)
    >>> tuple(found.wave.shape), bool((found.pitch[found.voice == 0] < 160).all())
    ((3, 1024), True)
    """
    if n < 1 or samples <= CHIRP:
        raise UsageError(f"clips needs n > 0 and more than {CHIRP} samples, got n={n}, samples={samples}.")
    draw = rng(seed, "audio clips")
    digit, voice = draw.integers(0, DIGITS, n), draw.integers(0, 2, n)
    pitch = np.array(PITCH)[voice] * np.exp(SPREAD * draw.standard_normal(n).clip(-2, 2))
    order = np.arange(1, HARMONICS + 1)
    phases = draw.uniform(0, 2 * np.pi, (n, HARMONICS, 1))
    sizes = 0.5 / order**0.5 * draw.uniform(0.5, 1.5, (n, HARMONICS))
    time = np.arange(samples) / RATE
    stack = np.cos(2 * np.pi * pitch[:, None, None] * order[:, None] * time + phases) * sizes[..., None]
    wave, start = stack.sum(1), draw.integers(0, samples - CHIRP, n)
    place = np.arange(samples) - start[:, None]
    inside = (place >= 0) & (place < CHIRP)
    glide = LOW + (HIGH - LOW) * _shapes(place.clip(0, CHIRP - 1) / (CHIRP - 1))[digit, np.arange(n)]
    sweep = np.sin(2 * np.pi * np.cumsum(np.where(inside, glide, 0.0), axis=1) / RATE + draw.uniform(0, 2 * np.pi, (n, 1)))
    wave = wave + np.where(inside, np.sin(np.pi * place / CHIRP) * sweep, 0.0) + noise * draw.standard_normal(wave.shape)
    numbers = (torch.tensor(v) for v in (wave.astype(np.float32), digit, voice, pitch.astype(np.float32), inside))
    return Clips(*numbers)


def spectrogram(wave: Tensor) -> Tensor:
    """Magnitudes [n, 1, bins, frames] of a short-time Fourier transform, up to 2.5 kHz."""
    frames = torch.stft(wave, WINDOW, HOP, window=torch.hann_window(WINDOW), center=False, return_complex=True)
    return (frames.abs() / WINDOW**0.5)[:, None, :BINS]


def scaled(spectra: Tensor, factor: Tensor) -> Tensor:
    """Spectra [n, 1, bins, frames] with the frequency axis stretched by `factor` [n]: bin b shows what was at b / factor."""
    bins = spectra.shape[2]
    source = (torch.arange(bins)[None] / factor[:, None]).clamp(max=bins - 1)
    low = source.floor().long()
    high, share = (low + 1).clamp(max=bins - 1), (source - low)[:, None, :, None]
    rows = torch.arange(len(spectra))[:, None]
    below, above = (spectra[rows, :, at].movedim(1, 2) for at in (low, high))
    return (1 - share) * below + share * above


def harmonic_bins(pitch: Tensor, bins: int = BINS) -> Tensor:
    """Which bins [n, bins] hold a harmonic or lie beside one."""
    width = RATE / WINDOW
    centres = (pitch[:, None] * torch.arange(1, HARMONICS + 1) / width).round()
    return ((torch.arange(bins)[None, :, None] - centres[:, None]).abs() <= 1).any(-1)


def _shapes(u: np.ndarray) -> np.ndarray:
    """Course of the frequency between 0 and 1 for each digit [digit, ...]."""
    peak = 1 - np.abs(2 * u - 1)
    return np.stack([u, 1 - u, peak, 1 - peak, np.full_like(u, 0.5)])

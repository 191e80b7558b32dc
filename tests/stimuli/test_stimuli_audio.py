"""Synthetic sound: what is said to be in a clip is in it."""

import numpy as np
import pytest
import torch

from microtome.errors import UsageError
from microtome.stimuli.audio import BINS, CHIRP, RATE, SAMPLES, WINDOW, clips, harmonic_bins, scaled, spectrogram


def chirp_alone(found, i: int) -> tuple[np.ndarray, float]:
    """The chirp, after the harmonics that fit the rest of the clip are taken away, and what these leave of the rest."""
    time = np.arange(SAMPLES) / RATE
    angle = 2 * np.pi * float(found.pitch[i]) * np.arange(1, 7)[:, None] * time
    basis = np.concatenate([np.cos(angle), np.sin(angle)]).T
    wave, inside = found.wave[i].double().numpy(), found.chirp[i].numpy()
    weights, *_ = np.linalg.lstsq(basis[~inside], wave[~inside], rcond=None)
    left = wave - basis @ weights
    return left[inside], float(np.abs(left[~inside]).max())


def test_the_voice_is_its_harmonics_exactly_and_chirps_move_as_their_digit_says():
    found = clips(40, seed=2, noise=0.0)
    for i in range(40):
        chirp, rest = chirp_alone(found, i)
        assert rest < 1e-4
        assert len(chirp) == CHIRP
        parts = [np.abs(np.fft.rfft(p * np.hanning(len(p)), 1024)).argmax() * RATE / 1024 for p in np.split(chirp, 4)]
        a, b, c, d = parts
        rising, bent = d - a, (b + c) - (a + d)
        digit = int(found.digit[i])
        assert (rising > 600) == (digit == 0)
        assert (rising < -600) == (digit == 1)
        assert (bent > 600) == (digit == 2)
        assert (bent < -600) == (digit == 3)


def test_scaling_moves_harmonics_and_one_changes_nothing():
    found = clips(6, seed=3)
    spectra = spectrogram(found.wave)
    assert spectra.shape == (6, 1, BINS, 1 + (SAMPLES - WINDOW) // 128)
    torch.testing.assert_close(scaled(spectra, torch.ones(6)), spectra)
    doubled = scaled(spectra, torch.full((6,), 2.0))
    torch.testing.assert_close(doubled[:, :, ::2], spectra[:, :, : BINS // 2])
    torch.testing.assert_close(doubled[:, :, 1::2][:, :, :10], (spectra[:, :, :10] + spectra[:, :, 1:11]) / 2)


def test_harmonic_bins_by_hand():
    width = RATE / WINDOW
    bins = harmonic_bins(torch.tensor([8 * width]))
    expected = {8 * h + k for h in range(1, 7) for k in (-1, 0, 1)}
    assert set(bins[0].nonzero().flatten().tolist()) == expected


def test_clips_depend_on_the_seed_alone_and_refuse_nonsense():
    assert torch.equal(clips(3, seed=5).wave, clips(3, seed=5).wave)
    assert not torch.equal(clips(3, seed=5).wave, clips(3, seed=6).wave)
    with pytest.raises(UsageError, match="n > 0"):
        clips(0)

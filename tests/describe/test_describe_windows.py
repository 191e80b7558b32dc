"""Windows against a slow oracle, whatever the blocks in which rows are read."""

import sys

import numpy as np
import pytest
import torch

from microtome.describe import windows
from microtome.errors import Degenerate, UsageError
from microtome.rng import rng
from microtome.subject.recording import Recording


def _recording(seed, documents=25, units=3):
    draw = rng(seed, "windows")
    lengths = draw.integers(1, 30, documents)
    sample = np.repeat(np.arange(documents), lengths)
    index = {"sample": sample, "position": np.concatenate([np.arange(n) for n in lengths]), "token": np.arange(len(sample)) % 7}
    x = np.round(draw.normal(size=(len(sample), units)), 2)
    return Recording.of(torch.tensor(x, dtype=torch.float32), site="mlp", index=index), list("abcdefg")


def _slow(recording, unit, count, width, tokens, sign):
    """Highest row of each sample, sorted; tokens around it, one by one."""
    x, sample = recording.matrix()[:, unit].tolist(), recording.index["sample"].tolist()
    peaks = {}
    for row, (value, s) in enumerate(zip(x, sample)):
        if s not in peaks or sign * value > sign * x[peaks[s]]:
            peaks[s] = row
    found = []
    for row in sorted(peaks.values(), key=lambda r: (-sign * x[r], r))[:count]:
        span = [r for r in range(row - width, row + width + 1) if 0 <= r < len(x) and sample[r] == sample[row]]
        found.append((row, tuple(tokens[r % 7] for r in span), tuple(x[r] for r in span)))
    return found


@pytest.mark.parametrize("block", [1, 7, 64, 4096])
@pytest.mark.parametrize("sign", [1, -1])
def test_top_windows_equal_those_of_a_slow_oracle(block, sign, monkeypatch):
    monkeypatch.setattr(sys.modules["microtome.describe.windows"], "STREAM", block)
    recording, tokens = _recording(block)
    found = windows(recording, tokens=tokens, count=6, width=4, bands=(), signs=[sign] * 3)
    for u in range(3):
        mine = [(w.row, w.tokens, w.activations) for w in found[f"mlp[{u}]"]]
        assert mine == _slow(recording, u, 6, 4, tokens, sign)
        assert all(w.value == w.activations[w.peak] and w.band == "top" for w in found[f"mlp[{u}]"])


def test_bands_lie_between_their_quantiles():
    recording, tokens = _recording(1)
    found = windows(recording, units=[2], tokens=tokens, count=4, bands=(0.5, 0.9, 1.0), width=2)["mlp[2]"]
    x = recording.matrix()[:, 2].numpy()
    assert [w.band for w in found] == ["top"] * 4 + ["0.5-0.9"] * 4 + ["0.9-1"] * 4
    for w in found[4:]:
        low, high = (float(q) for q in w.band.split("-"))
        assert np.quantile(x, low) <= w.value < np.quantile(x, high)
    again = windows(recording, units=[2], tokens=tokens, count=4, bands=(0.5, 0.9, 1.0), width=2)["mlp[2]"]
    assert again == found


def test_fewer_samples_than_windows():
    recording, tokens = _recording(2, documents=3)
    assert [len(w) for w in windows(recording, tokens=tokens, count=9, bands=()).values()] == [3, 3, 3]


def test_refusals():
    recording, _ = _recording(3)
    for options in ({"count": 0}, {"width": -1}, {"bands": (0.9, 0.5)}, {"bands": (0, 2)}, {"units": [3]}, {"signs": [1]}):
        with pytest.raises(UsageError):
            windows(recording, **options)
    with pytest.raises(Degenerate):
        windows(recording.select([]))
    with pytest.raises(UsageError, match="one site"):
        windows(Recording.of({"a": recording.matrix(), "b": recording.matrix()}))

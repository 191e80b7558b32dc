"""What a linear reader gets out of codes: k-sparse probing, absorption, and removal of what a probe reads.

The measures of SAEBench (Karvonen et al. 2025) as small functions of a recording, a basis and labels. Rows are split by
sample: probes are fitted on one half and judged on the other. Labels are True and False per row.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.evidence import auroc
from microtome.rng import rng
from microtome.subject.basis import edit_through

#: Rows with and without a label that each half must have.
FEWEST = 8


def sparse_probing(recording: Any, basis: Any, labels: Any, *, k: int = 1, seed: int = 0) -> float:
    """AUROC, on held-out samples, of a logistic probe that reads the k latents whose means differ most.

    Parameters
    ----------
    recording : Recording
        One site.
    basis : Basis
    labels : array_like of bool [rows], or name of a property of the recording
    k : int
        Default 1. SAEBench: 1, 2 and 5.
    seed : int
        Of the split.

    Notes
    -----
    Null: `random_dictionary` of the same size: with many latents, some of them follows any label. Shuffled labels give 0.5.
    Misleads when the label is a token: a random dictionary finds tokens too.
    """
    y, fit, judged = _split(recording, labels, seed)
    z = _codes(recording, basis)
    chosen = _by_difference(z[fit], y[fit], k)
    score = _probe(z[fit][:, chosen], y[fit])(z[judged][:, chosen])
    return float(auroc(score, y[judged]))


def absorption(recording: Any, basis: Any, labels: Any, *, k: int = 1, share: float = 0.4, seed: int = 0) -> float:
    """Share of the rows with the label on which other latents carry it, while the latents of the label are silent.

    On held-out rows that have the label and that a probe of the site itself finds: the k latents of the label (those of
    `sparse_probing`) are 0, and one other latent has a cosine of at least 0.025 with the probe's direction and carries at
    least `share` of what the codes put along it.

    Notes
    -----
    Null: a dictionary of the true directions gives 0; a random one gives what it gives, compare.
    Misleads when the chosen latents do not follow the label at all: see `sparse_probing` first.
    """
    y, fit, judged = _split(recording, labels, seed)
    x, z = recording.matrix().double().cpu().numpy(), _codes(recording, basis)
    probe = _probe(x[fit], y[fit])
    main = _by_difference(z[fit], y[fit], k)
    directions = basis.directions.detach().double().cpu().numpy()
    unit = probe.direction / np.linalg.norm(probe.direction)
    cosine = directions @ unit / np.maximum(np.linalg.norm(directions, axis=1), 1e-300)
    rows = np.flatnonzero(judged)[(probe(x[judged]) > 0) & y[judged]]
    if not len(rows):
        raise Degenerate("the probe of the site finds no row that has the label: nothing can be absorbed.")
    along = z[rows] * (directions @ unit)
    others = np.where(cosine >= 0.025, along, -np.inf)
    others[:, main] = -np.inf
    carried = others.max(1) >= share * np.maximum(along.clip(min=0).sum(1), 1e-300)
    return float(((z[rows][:, main] == 0).all(1) & carried).mean())


def spurious_correlation_removal(
    recording: Any, basis: Any, target: Any, spurious: Any, *, latents: int = 20, seed: int = 0
) -> float:
    """SCR: how much of the damage that a spurious label does to a probe is undone by ablating the latents of that label.

    A probe of `target` is fitted on rows where both labels agree, one on balanced rows. The `latents` with most effect on a
    probe of `spurious` are set to 0 (the error of the basis is kept). ``(after - biased) / (clean - biased)``, accuracies on
    balanced held-out rows; 0 when the bias did no damage.

    Notes
    -----
    Null: ablating as many latents of a random basis.
    Misleads when 0 is not a neutral value of the latents: then ablation moves the threshold of the probe.
    """
    wanted, fit, judged = _split(recording, target, seed)
    misleading = _labels(recording, spurious)
    x = recording.matrix().double().cpu()
    agree = wanted == misleading
    biased = _probe(x[torch.from_numpy(fit & agree)].numpy(), wanted[fit & agree])
    clean = _probe(x.numpy()[fit], wanted[fit])
    other = _probe(x.numpy()[fit], misleading[fit])
    chosen = _by_effect(recording, basis, other, misleading, fit, latents)
    held = _balanced(wanted, misleading, judged, seed)
    before, best = (float(((p(x.numpy()[held]) > 0) == wanted[held]).mean()) for p in (biased, clean))
    edited = _without(basis, x[torch.from_numpy(held)], chosen)
    after = float(((biased(edited) > 0) == wanted[held]).mean())
    return 0.0 if best - before < 1e-3 else (after - before) / (best - before)


def targeted_probe_perturbation(
    recording: Any, basis: Any, labels: Mapping[str, Any] | Sequence[str], *, latents: int = 20, seed: int = 0
) -> float:
    """TPP: how much ablating the latents of one label hurts its own probe more than the probes of the others.

    Mean over labels of (loss of accuracy of the own probe) - (mean loss of the others), on held-out rows.

    Notes
    -----
    Null: 0 for latents that have nothing to do with the labels.
    """
    given = {name: recording.labels(name) for name in labels} if not isinstance(labels, Mapping) else dict(labels)
    if len(given) < 2:
        raise UsageError(f"at least two labels are compared, got {list(given)}.")
    x = recording.matrix().double().cpu()
    parts = {name: _split(recording, y, seed) for name, y in given.items()}
    probes = {name: _probe(x.numpy()[fit], y[fit]) for name, (y, fit, _) in parts.items()}
    drops = []
    for name, (y, fit, judged) in parts.items():
        held = torch.from_numpy(judged)
        edited = _without(basis, x[held], _by_effect(recording, basis, probes[name], y, fit, latents))
        lost = {n: _accuracy(p, x[held].numpy(), parts[n][0][judged]) - _accuracy(p, edited, parts[n][0][judged])
                for n, p in probes.items()}  # fmt: skip
        drops.append(lost[name] - float(np.mean([lost[n] for n in lost if n != name])))
    return float(np.mean(drops))


class _probe:  # reads like a function: fitted at once, then called
    """A logistic probe on standardised columns; `direction` is in the units of the input."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        from sklearn.linear_model import LogisticRegression

        self.mean, spread = x.mean(0), x.std(0)
        self.spread = np.where(spread > 0, spread, 1.0)
        self.model = LogisticRegression(max_iter=300).fit((x - self.mean) / self.spread, y)
        self.direction = self.model.coef_[0] / self.spread

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.model.decision_function((x - self.mean) / self.spread)


def _accuracy(probe: _probe, x: np.ndarray, y: np.ndarray) -> float:
    return float(((probe(x) > 0) == y).mean())


def _labels(recording: Any, labels: Any) -> np.ndarray:
    y = np.asarray(recording.labels(labels) if isinstance(labels, str) else labels)
    if y.shape != (len(recording),):
        raise ShapeError(f"one label per row is needed: {len(recording)} rows, labels {y.shape}.")
    if not np.isin(y, [0, 1]).all():
        raise UsageError("labels are True or False per row.")
    return y.astype(bool)


def _split(recording: Any, labels: Any, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, and the rows of two halves of the samples, each with enough rows of both kinds."""
    y = _labels(recording, labels)
    samples = recording.index["sample"].to_numpy()
    names, place = np.unique(samples, return_inverse=True)
    first = rng(seed, "decompose", "probing").permutation(len(names)) < (len(names) + 1) // 2
    fit = first[place]
    if min(min(y[half].sum(), (~y[half]).sum()) for half in (fit, ~fit)) < FEWEST:
        raise Degenerate(f"each half of the samples needs {FEWEST} rows with the label and {FEWEST} without.")
    return y, fit, ~fit


def _codes(recording: Any, basis: Any) -> np.ndarray:
    return torch.cat([basis.encode(x) for x in recording.batches(4096, None)]).detach().double().cpu().numpy()


def _by_difference(z: np.ndarray, y: np.ndarray, k: int) -> np.ndarray:
    if not 1 <= k <= z.shape[1]:
        raise UsageError(f"k must be 1..{z.shape[1]}, got {k}.")
    return np.argsort(-np.abs(z[y].mean(0) - z[~y].mean(0)), kind="stable")[:k]


def _by_effect(recording: Any, basis: Any, probe: _probe, y: np.ndarray, fit: np.ndarray, n: int) -> np.ndarray:
    """Latents with the largest effect on a probe: difference of means times what the direction adds to its score."""
    z, directions = _codes(recording, basis), basis.directions.detach().double().cpu().numpy()
    difference = z[fit & y].mean(0) - z[fit & ~y].mean(0)
    return np.argsort(-np.abs(difference * (directions @ probe.direction)), kind="stable")[:n]


def _without(basis: Any, x: Tensor, latents: np.ndarray) -> np.ndarray:
    z = basis.encode(x)
    off = z.clone()
    off[:, torch.from_numpy(latents.copy()).to(z.device)] = 0
    return edit_through(basis, x, off, z=z).detach().double().cpu().numpy()


def _balanced(a: np.ndarray, b: np.ndarray, rows: np.ndarray, seed: int) -> np.ndarray:
    """As many of the rows in each of the four cells of two labels."""
    cells = [np.flatnonzero(rows & (a == i) & (b == j)) for i in (False, True) for j in (False, True)]
    least = min(map(len, cells))
    if least < FEWEST:
        raise Degenerate(f"the rarest pair of labels has {least} held-out rows; {FEWEST} are needed.")
    stream = rng(seed, "decompose", "balanced")
    return np.sort(np.concatenate([stream.permutation(cell)[:least] for cell in cells]))

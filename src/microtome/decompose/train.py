"""One trainer for every sparse autoencoder: batches, Adam, schedule, dead latents, the training curve.

The variant is a `Formula`; what comes out is a `SparseDictionary` in the units of the recording.
"""

import math
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from microtome.decompose.data import Survey, precision_of, require_rows, survey
from microtome.decompose.dictionary import SparseDictionary
from microtome.decompose.formula import Formula, Parameters, Progress
from microtome.decompose.judge import reconstruction
from microtome.engine import progress as progress_bar
from microtome.errors import NonFinite, UsageError
from microtome.rng import derive, torch_rng

#: Vectors without firing after which a latent counts as dead (Gao et al. 2024), or a tenth of a shorter training.
DEAD_AFTER_ROWS = 10_000_000
DEAD_AFTER_SHARE = 0.1
POINTS = 100


class Interrupted(UserWarning):
    """Training was stopped by the user; the dictionary is what had been reached."""


def train(
    recording: Any, formula: Formula, *, latents: int, steps: int, batch: int, lr: float | None = None, seed: int = 0,
    name: str = "dictionary",
) -> SparseDictionary:  # fmt: skip
    """Fit a sparse autoencoder.

    Parameters
    ----------
    recording : Recording
        One site; in memory or on disk.
    formula : Formula
        The variant.
    latents, steps, batch : int
        Dictionary size, number of updates, rows per update.
    lr : float, optional
        Adam's rate. Default ``2e-4 / sqrt(latents / 2^14)`` (Gao et al. 2024), at most 5e-3.
    seed : int
        Start and order of the batches.
    name : str
        Name of the basis.

    Returns
    -------
    SparseDictionary
        With ``metrics`` over the whole recording and the ``training`` curve. Ctrl-C ends the training early, warns
        `Interrupted` and returns what was reached.
    """
    for label, value in {"latents": latents, "steps": steps, "batch": batch}.items():
        if not isinstance(value, int) or value < 1:
            raise UsageError(f"{label} must be a whole number >= 1, got {value!r}.")
    found = survey(recording)
    require_rows(found, latents)
    scale = found.scale
    p, like = _start(recording, formula, found, latents, seed)
    rate = min(5e-3, 2e-4 / math.sqrt(latents / 2**14)) if lr is None else lr
    optimizer = torch.optim.Adam(list(p.values()), lr=rate, eps=6.25e-10, fused=like.device.type in ("cpu", "cuda"))
    progress = Progress(
        steps=steps,
        silent=torch.zeros(latents, dtype=torch.long, device=like.device),
        dead_after=max(1, min(DEAD_AFTER_ROWS // batch, int(DEAD_AFTER_SHARE * steps))),
    )
    curve = _Curve(steps)
    try:
        with progress_bar(steps, name) as advance:
            for x in _stream(recording, min(batch, found.rows), steps, seed):
                _update(p, formula, optimizer, x.to(like) * scale, progress, curve, rate)
                advance(1)
    except KeyboardInterrupt:
        warnings.warn(f"stopped after {progress.step} of {steps} updates.", Interrupted, stacklevel=3)
    return _finish(recording, formula, p, found, curve, name)


def _start(recording, formula: Formula, found: Survey, latents: int, seed: int) -> tuple[Parameters, Tensor]:
    """First parameters, on the device and in the precision (at least float32) of the recording."""
    like = precision_of(recording)
    draw = torch.randn(latents, found.width, generator=torch_rng(seed, "decompose", "start"), dtype=torch.float64)
    directions = (draw / draw.norm(dim=1, keepdim=True)).to(like)
    start = formula.start(directions, (found.mean * found.scale).to(like))
    return {name: value.detach().clone().requires_grad_() for name, value in start.items()}, like


def _stream(recording, batch: int, steps: int, seed: int) -> Iterator[Tensor]:
    """`steps` full batches, in a new order at each pass."""
    done, epoch = 0, 0
    while done < steps:
        for x in recording.batches(batch, derive(seed, "decompose", "order", epoch)):
            if len(x) == batch:
                yield x
                done += 1
            if done == steps:
                return
        epoch += 1


def _update(p, formula: Formula, optimizer, x: Tensor, progress: Progress, curve: "_Curve", rate: float) -> None:
    """One gradient step."""
    for group in optimizer.param_groups:
        group["lr"] = rate * schedule(progress.step, progress.steps)
    optimizer.zero_grad(set_to_none=True)
    step = formula.loss(p, x, progress)
    step.loss.backward()
    formula.before_update(p, progress)
    optimizer.step()
    progress.update(step.fired)

    def revive(rows: dict[str, Tensor], latents: Tensor) -> None:
        overwrite(p, optimizer, rows, latents)
        progress.silent[latents] = 0

    formula.after_update(p, x, progress, revive)
    curve.add(step, x, progress)


def schedule(step: int, steps: int) -> float:
    """Factor on the learning rate: linear over the first 5%, constant, linear to 0 over the last 20%."""
    return min(1.0, (step + 1) / max(1.0, 0.05 * steps), (steps - step) / max(1.0, 0.2 * steps))


@torch.no_grad()
def overwrite(p: Parameters, optimizer: torch.optim.Optimizer, rows: dict[str, Tensor], latents: Tensor) -> None:
    """Give `latents` new rows in the named parameters and forget Adam's moments there."""
    for name, values in rows.items():
        p[name][latents] = values.to(p[name])
        for moment in ("exp_avg", "exp_avg_sq"):
            if moment in optimizer.state[p[name]]:
                optimizer.state[p[name]][moment][latents] = 0.0


def _finish(recording, formula: Formula, p: Parameters, found: Survey, curve: "_Curve", name: str) -> SparseDictionary:
    """Fold the input scale in and score the result on the whole recording."""
    parts = formula.export({key: value.detach() for key, value in p.items()})
    dictionary = SparseDictionary(found.site, **fold_scale(parts, found.scale), name=name, subject=found.subject)
    dictionary.history = curve.columns
    rows = max(64, min(2048, 2**25 // dictionary.dim))
    dictionary.metrics = reconstruction(recording, dictionary, batch=rows)
    return dictionary


def fold_scale(parts: dict[str, Any], scale: float) -> dict[str, Any]:
    """The arguments of a dictionary for x from those of one for ``scale * x``.

    Every gate of this room is positively homogeneous, so the scale moves out of the biases and thresholds while the
    directions keep their norms: ``z(x) = z'(scale x) / scale``.
    """
    return parts | {key: parts[key] / scale for key in ("b_enc", "b_dec", "threshold") if parts.get(key) is not None}


class _Curve:
    """The training curve, averaged between its points so that no step waits for a number."""

    def __init__(self, steps: int) -> None:
        self.every = max(1, steps // POINTS)
        self.columns: dict[str, list] = {"step": [], "loss": [], "fvu": [], "l0": [], "dead": []}
        self._sums: list[Tensor] = []

    def add(self, step, x: Tensor, progress: Progress) -> None:
        rows, d = x.shape
        self._sums.append(torch.stack([step.loss.detach(), step.error / (rows * d), step.fired.sum() / rows]))
        if progress.step % self.every and progress.step != progress.steps:
            return
        loss, fvu, l0 = torch.stack(self._sums).mean(0).tolist()
        if not math.isfinite(loss):
            raise NonFinite(f"the loss became {loss} at update {progress.step}; use a lower learning rate (lr).")
        dead = float((progress.silent >= progress.dead_after).double().mean())
        for column, value in zip(self.columns, (progress.step, loss, fvu, l0, dead)):
            self.columns[column].append(value)
        self._sums = []

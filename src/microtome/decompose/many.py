"""Train many dictionaries in one pass: layers, widths, seeds and sparsities share each forward and each read from disk."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from microtome.decompose.checkpoint import load_checkpoint, save_checkpoint
from microtome.decompose.ends import Ends
from microtome.decompose.fitting import Fit, Recipe
from microtome.decompose.sources import FromRecording, Rows
from microtome.decompose.spread import share, world
from microtome.decompose.trackers import tracker_of
from microtome.decompose.train import Interrupted
from microtome.engine import progress as progress_bar
from microtome.errors import NonFinite, UsageError
from microtome.io import dump_json, hash_bytes
from microtome.subject.basis_stored import StoredBasis

#: Updates between checkpoints, unless told.
EVERY = 500


def train_many(
    source: Any, recipes: Mapping[str, Recipe], *, steps: int, batch: int, seed: int = 0, checkpoint: str | Path | None = None,
    every: int = EVERY, tracker: Any = None, judge: Callable[[Mapping[str, Any]], dict[str, float]] | None = None,
    mixed: bool = False,
) -> dict[str, StoredBasis]:  # fmt: skip
    """Fit several dictionaries to the same rows, in step.

    Parameters
    ----------
    source : Recording or Live
        A recording of all the sites, or a live subject.
    recipes : mapping of name to Recipe
        What to train. Names are those of the bases.
    steps, batch : int
        Updates, and rows per update, of each.
    seed : int
        Order of the rows; the recipes have seeds of their own for the start.
    checkpoint : path, optional
        Folder for the state. When it holds one of the same training, that is resumed, to the same bytes.
    every : int
        Updates between checkpoints.
    tracker : optional
        Takes figures while training: see `tracker_of`. Names are "NAME/fvu", "NAME/l0", "NAME/dead", "NAME/loss".
    judge : callable, optional
        Figures of the dictionaries (by name) at ten points of training and at the end, e.g. `Recovered`; they go to the
        tracker, and at the end into `metrics`.
    mixed : bool
        Products in bfloat16 on CUDA; parameters and Adam keep their precision.

    Returns
    -------
    dict of str to StoredBasis
        With the training curve; `metrics` hold its last point. Where torch.distributed is set up, each process works on
        a share of each batch and all return the same.

    Raises
    ------
    UsageError
        Without recipes, or when a size is below 1.
    SubjectMismatch
        When the checkpoint is of another training.
    NonFinite
        When one of the trainings diverges; the last checkpoint is from before.

    Examples
    --------
    >>> from microtome.decompose.topk_sae import TopK
    >>> from microtome.subject.recording import Recording
    >>> x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    >>> both = train_many(Recording.of(x), {"a": Recipe(TopK(2), 16), "b": Recipe(TopK(4), 32)}, steps=20, batch=32)
    >>> both["b"].dim
    32
    """
    if not recipes:
        raise UsageError("train_many needs at least one recipe.")
    source = source if hasattr(source, "rows") else FromRecording(source)
    fits: dict[str, Fit] = {}
    for name, recipe in recipes.items():
        ends = source.ends(recipe.reads, recipe.writes)
        fits[name] = Fit(recipe, ends, source.like, steps=steps, batch=batch, mixed=mixed)
    sites = list(dict.fromkeys(s for fit in fits.values() for s in (*fit.ends.reads, *fit.ends.writes)))
    log, states, rank = tracker_of(tracker), list(fits.values()), world()[0]
    identity = hash_bytes(dump_json([source.identity, [repr(r) for r in recipes.values()], steps, batch, seed, world()[1]]))
    start, source.mark = (0, (0, 0)) if checkpoint is None else load_checkpoint(checkpoint, states, identity)
    figures: dict[str, float] = {}
    try:
        with progress_bar(steps, "training") as advance:
            advance(start)
            stream = source.rows(sites, batch, seed, start) if start < steps else iter(())
            for step in range(start + 1, steps + 1):
                rows = share(next(stream))
                points = {name: fit.update(*ends_of(rows, fit.ends)) for name, fit in fits.items()}
                if judge is not None and (step % max(1, steps // 10) == 0 or step == steps):
                    figures = judge({name: built(fit, name) for name, fit in fits.items()})
                if log is not None and rank == 0 and (any(points.values()) or (figures and step % max(1, steps // 10) == 0)):
                    log.log(latest(fits) | figures, step=step)
                if checkpoint is not None and rank == 0 and (step % every == 0 or step == steps):
                    require_finite(fits)
                    save_checkpoint(checkpoint, states, identity, source.mark)
                advance(1)
    except KeyboardInterrupt:
        done = states[0].progress.step
        warnings.warn(f"stopped after {done} of {steps} updates.", Interrupted, stacklevel=2)
    out = {name: built(fit, name) for name, fit in fits.items()}
    for name, basis in out.items():
        own = {key.removeprefix(f"{name}/"): v for key, v in (latest(fits) | figures).items() if key.startswith(f"{name}/")}
        basis.metrics = own
    return out


def require_finite(fits: Mapping[str, Fit]) -> None:
    """Refuse to write a checkpoint of a training that has diverged."""
    for name, fit in fits.items():
        if not all(bool(torch.isfinite(value).all()) for value in fit.p.values()):
            raise NonFinite(
                f"'{name}' diverged before update {fit.progress.step}; the last checkpoint is from before. Use a lower lr."
            )


def ends_of(rows: Rows, ends: Ends) -> tuple[Tensor, Tensor]:
    """What is read and what is rebuilt, from rows by site."""
    x = rows[ends.reads[0]] if len(ends.reads) == 1 else torch.cat([rows[s] for s in ends.reads], 1)
    if ends.auto:
        return x, x
    return x, rows[ends.writes[0]] if len(ends.writes) == 1 else torch.cat([rows[s] for s in ends.writes], 1)


def built(fit: Fit, name: str) -> StoredBasis:
    """The dictionary as it is now, under its own name."""
    basis = fit.dictionary()
    basis.name = name
    return basis


def latest(fits: Mapping[str, Fit]) -> dict[str, float]:
    """The last point of each curve."""
    out = {}
    for name, fit in fits.items():
        for column, values in fit.curve.columns.items():
            if column != "step" and values:
                out[f"{name}/{column}"] = float(values[-1])
    return out

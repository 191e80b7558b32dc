"""Train dictionaries on a recording, in memory or on disk. The variants are `Formula`s; the trainer knows none of them."""

import warnings
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from microtome.decompose.data import precision_of, require_rows
from microtome.decompose.dictionary import SparseDictionary
from microtome.decompose.ends import Feed
from microtome.decompose.fitting import Fit, Recipe
from microtome.decompose.formula import Formula
from microtome.decompose.judge import reconstruction
from microtome.engine import progress as progress_bar
from microtome.errors import UsageError
from microtome.rng import derive


class Interrupted(UserWarning):
    """Training was stopped by the user; the dictionary is what had been reached."""


def train(
    recording: Any, formula: Formula, *, latents: int, steps: int, batch: int, lr: float | None = None, seed: int = 0,
    name: str = "dictionary", reads: Any = None, writes: Any = None,
) -> SparseDictionary:  # fmt: skip
    """Fit one dictionary.

    Parameters
    ----------
    recording : Recording
        One site, or several with `reads`; in memory or on disk.
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
    reads, writes : str or sequence of str, optional
        Sites that are read and rebuilt; see `Recipe`.

    Returns
    -------
    SparseDictionary
        With ``metrics`` over the whole recording and the ``training`` curve. Ctrl-C ends the training early, warns
        `Interrupted` and returns what was reached.
    """
    for label, value in {"latents": latents, "steps": steps, "batch": batch}.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UsageError(f"{label} must be a whole number >= 1, got {value!r}.")
    feed = Feed(recording, reads, writes)
    require_rows(feed.ends.source, latents)
    fit = fitted(feed, Recipe(formula, latents, reads, writes, lr, seed, name), steps=steps, batch=batch)
    return scored(fit.dictionary(), feed)


def fitted(feed: Feed, recipe: Recipe, *, steps: int, batch: int) -> Fit:
    """A recipe trained on the rows of a recording, or as far as Ctrl-C let it come."""
    fit = Fit(recipe, feed.ends, precision_of(feed.x), steps=steps, batch=batch)
    try:
        with progress_bar(steps, recipe.name) as advance:
            for x, y in stream(feed, min(batch, feed.ends.source.rows), steps, recipe.seed):
                fit.update(x, y)
                advance(1)
    except KeyboardInterrupt:
        warnings.warn(f"stopped after {fit.progress.step} of {steps} updates.", Interrupted, stacklevel=4)
    return fit


def stream(feed: Feed, batch: int, steps: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """`steps` full batches, in a new order at each pass."""
    done, epoch = 0, 0
    while done < steps:
        for x, y in feed.batches(batch, derive(seed, "decompose", "order", epoch)):
            if len(x) == batch:
                yield x, y
                done += 1
            if done == steps:
                return
        epoch += 1


def scored(dictionary: SparseDictionary, feed: Feed) -> SparseDictionary:
    """The dictionary with its figures over all rows."""
    rows = max(64, min(2048, 2**25 // dictionary.dim))
    target = None if feed.ends.auto else feed.y
    dictionary.metrics = reconstruction(feed.x, dictionary, batch=rows, target=target)
    return dictionary

"""Groups of latents as edits: rebuild a site from some of its latents only, or from all but some, and see what is left."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from microtome.decompose.data import require_count
from microtome.errors import ShapeError, UsageError
from microtome.rng import rng
from microtome.subject.edit import Edit, replace_with

if TYPE_CHECKING:
    import pandas as pd


class Rebuilt:
    """``x' = decode(mask z + (1 - mask) fill)``: a site rebuilt from some latents, without the dictionary's error."""

    def __init__(self, basis: Any, mask: Tensor, fill: Tensor | None) -> None:
        self.basis, self.mask, self.fill = basis, mask, torch.zeros_like(mask) if fill is None else (1 - mask) * fill.to(mask)

    def __call__(self, value: Tensor) -> Tensor:
        axes = [i for i in range(1, value.ndim) if value.shape[i] == self.basis.width]
        if not axes:
            raise ShapeError(f"the basis reads {self.basis.width} units, the site's value is {list(value.shape)}.")
        axis = axes[-1] if value.ndim < 4 else axes[0]  # images: channels come first
        z = self.basis.encode(value.movedim(axis, -1))
        return self.basis.decode(z * self.mask.to(z) + self.fill.to(z)).movedim(-1, axis)


def keep_latents(basis: Any, latents: Sequence[int], *, fill: Tensor | None = None) -> Edit:
    """Rebuild the site from `latents` alone (and the bias); everything else is gone, the dictionary's error included.

    Unlike `ablate` through a basis, which keeps the error: compare with `rebuilt`, not with the unedited network. The other
    latents are set to `fill` [latents], default 0; with their means the thresholds of later layers stay where they were.
    """
    mask = torch.zeros(basis.dim)
    mask[_numbers(basis, latents)] = 1
    return replace_with(basis.site, Rebuilt(basis, mask, fill))


def drop_latents(basis: Any, latents: Sequence[int], *, fill: Tensor | None = None) -> Edit:
    """Rebuild the site from all latents but `latents`, which are set to `fill` [latents], default 0."""
    mask = torch.ones(basis.dim)
    mask[_numbers(basis, latents)] = 0
    return replace_with(basis.site, Rebuilt(basis, mask, fill))


def rebuilt(basis: Any) -> Edit:
    """The site as its dictionary rebuilds it: the baseline of `keep_latents` and `drop_latents`."""
    return replace_with(basis.site, Rebuilt(basis, torch.ones(basis.dim), None))


def latent_groups(
    subject: Any, inputs: Any, answers: Any, basis: Any, latents: Sequence[int], *, fill: str = "zero", draws: int = 20,
    seed: int = 0,
) -> "pd.DataFrame":  # fmt: skip
    """Accuracy when the first k of a ranked list of latents are all that is kept, and when they are removed, for every k.

    Parameters
    ----------
    subject : Subject
    inputs : Tensor or Inputs
    answers : Tensor[n]
        Right classes.
    basis : Basis
        Of the site that is rebuilt.
    latents : sequence of int
        Best first, e.g. ``finding.table["latent"]`` of `mammo_sae`.
    fill : {"zero", "mean"}
        What the others are set to: 0 (default and paper), or their means over `inputs`, which leaves thresholds in place.
    draws : int
        Random groups of live latents (others than `latents`) removed at each k. Default 20.
    seed : int
        Of the groups.

    Returns
    -------
    DataFrame
        A row per k from 0 to all: k, keep, drop, drop_random (mean over the draws), rebuilt and clean (the same in all rows).

    Notes
    -----
    Null: `drop_random`.
    Misleads with ``fill="zero"`` when a network's threshold rests on the mean of what is removed: a class is then predicted
    always, however well the rest still tells the two apart.
    """
    latents = [int(i) for i in latents]
    _numbers(basis, latents)
    require_count(draws, 10**6, "draws")
    if fill not in ("zero", "mean"):
        raise UsageError(f"fill must be 'zero' or 'mean', got {fill!r}.")
    answers = torch.as_tensor(answers)
    clean = subject.run(inputs, record=[basis.site])
    z = basis.encode(_features_last(clean[basis.site], basis.width))
    live = [i for i in (z > 0).flatten(0, -2).any(0).nonzero().flatten().tolist() if i not in latents]
    if len(live) < len(latents):
        raise UsageError(f"{len(live)} other latents are live: too few to draw random groups of {len(latents)} from.")
    rest = z.flatten(0, -2).mean(0) if fill == "mean" else None
    stream = rng(seed, "decompose", "latent_groups")
    orders = [stream.permutation(live) for _ in range(draws)]

    def accuracy(*edits: Edit) -> float:
        return float((subject.run(inputs, edits=list(edits)).logits.argmax(-1) == answers).double().mean())

    import pandas as pd

    base = {"rebuilt": accuracy(rebuilt(basis)), "clean": float((clean.logits.argmax(-1) == answers).double().mean())}
    rows = [
        {
            "k": 0,
            "keep": accuracy(keep_latents(basis, [], fill=rest)),
            "drop": base["rebuilt"],
            "drop_random": base["rebuilt"],
            **base,
        }
    ]
    for k in range(1, len(latents) + 1):
        random = [accuracy(drop_latents(basis, order[:k], fill=rest)) for order in orders]
        keep = accuracy(keep_latents(basis, latents[:k], fill=rest))
        drop = accuracy(drop_latents(basis, latents[:k], fill=rest))
        rows.append({"k": k, "keep": keep, "drop": drop, "drop_random": float(np.mean(random)), **base})
    return pd.DataFrame(rows)


def _features_last(value: Tensor, width: int) -> Tensor:
    return value.movedim(1, -1) if value.ndim == 4 and value.shape[1] == width else value


def _numbers(basis: Any, latents: Sequence[int]) -> list[int]:
    numbers = [int(i) for i in latents]
    wrong = [i for i in numbers if not 0 <= i < basis.dim]
    if wrong or len(set(numbers)) < len(numbers):
        raise UsageError(f"latents must be different numbers in 0..{basis.dim - 1}, got {wrong[:5] or numbers[:5]}.")
    return numbers

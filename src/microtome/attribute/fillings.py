"""What absent cells of an input are filled with, drawn anew for each input: other examples, or a constant."""

import torch
from torch import Tensor

from microtome.attribute.selector import Fills
from microtome.attribute.subsets import gumbel
from microtome.errors import ShapeError, UsageError

#: Examples among which a match is sought; width of the match, as a share of the cells' mean standard deviation.
CANDIDATES, WIDTH = 200, 0.5


def filler(baseline: str | float | Tensor, rows: Tensor) -> Fills:
    """A rule from inputs and the cells that are kept to inputs without holes, given the examples that are fitted."""
    if isinstance(baseline, str) and baseline in ("matched", "others"):
        match = baseline == "matched"

        def fill(x: Tensor, kept: Tensor, generator: torch.Generator) -> Tensor:
            at = matches(x, kept, rows, generator) if match else torch.randint(len(rows), (len(x),), generator=generator)
            other = rows[at.to(x.device)]
            return other + kept * (x - other)

        return fill
    if isinstance(baseline, str):
        if baseline not in ("zero", "mean"):
            raise UsageError(f'baseline must be "matched", "others", "zero", "mean", a number or values, got {baseline!r}.')
        constant = rows.mean(0) if baseline == "mean" else torch.zeros_like(rows[0])
    elif isinstance(baseline, Tensor):
        if baseline.shape != rows.shape[1:]:
            raise ShapeError(f"the baseline {list(baseline.shape)} does not fit inputs {list(rows.shape[1:])}.")
        constant = baseline.to(rows)
    else:
        constant = torch.full_like(rows[0], float(baseline))
    return lambda x, kept, generator: constant + kept * (x - constant)


@torch.no_grad()
def matches(x: Tensor, kept: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
    """One example [m] for each input, from those that agree with its kept cells: draws of a mixture's component.

    The mixture has a Gaussian of one width around each of some examples drawn at random;
    ``P(i | x_z) ~ exp(-|z (x - x_i)|^2 / 2 w^2)``. The input itself is not among them.
    """
    chosen = torch.randint(len(rows), (min(CANDIDATES, len(rows)),), generator=generator).to(x.device)
    some, flat, z = rows[chosen].flatten(1), x.flatten(1), kept.flatten(1).round()
    apart = (z * flat**2).sum(1, keepdim=True) - 2 * (z * flat) @ some.T + z @ (some**2).T
    width = max(1e-6, WIDTH * float(rows.flatten(1).std(0, correction=0).mean()))
    odds = -apart / (2 * width**2)
    same = torch.cdist(flat, some, compute_mode="donot_use_mm_for_euclid_dist") <= 1e-6  # products would not give exact zeros
    odds = odds.masked_fill(same, float("-inf"))
    odds = odds.masked_fill((odds == float("-inf")).all(1, keepdim=True), 0.0)
    return chosen[(odds + gumbel(tuple(odds.shape), generator).to(odds)).argmax(1)]

"""Semi-non-negative factors ``X ~ Z H``: codes Z >= 0, directions H of either sign. One engine, several formulas.

One step is one pass over the recording: the directions are the least squares of the codes at hand, which needs only
``Z^T X`` and ``Z^T Z``; then each block of rows updates its codes and adds to the next step's sums. The rows are streamed,
only the codes are held, and the loss comes from the same sums.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from microtome.decompose.data import Survey, precision_of
from microtome.errors import UsageError, nearest
from microtome.rng import torch_rng

#: Rows at a time: a block and its codes stay in the cache between their products.
BLOCK = 4096
#: Smallest code at the start: multiplicative updates never leave 0.
FLOOR = 1e-6
STARTS = ("svd", "kmeans", "random")
#: Update of a block of codes: (z [rows, K], x H^T [rows, K], H H^T [K, K]) -> new z.
Update = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass
class Factors:
    """Where an alternating fit ended.

    Attributes
    ----------
    directions : Tensor[K, d]
        H of the best step.
    loss : float
        ``||X - Z H||_F^2`` of that step, with the codes of that step.
    history : list of float
        The loss after each step.
    """

    directions: Tensor
    loss: float
    history: list[float] = field(default_factory=list)


def factorise(
    recording: Any, codes: list[Tensor], update: Update, *, keep: int | None = None, steps: int = 1000,
    patience: int = 300, tolerance: float = 1e-6, enough: float = 0.0,
) -> Factors:  # fmt: skip
    """Alternate between directions and codes and keep the best step.

    ``H <- (Z^T Z + 1e-6 I)^-1 Z^T X``; of each direction only the `keep` largest entries stay; codes are scaled to unit
    columns and the directions by their norms; ``Z <- update(Z, X H^T, H H^T)``.

    Parameters
    ----------
    recording : Recording
        One site.
    codes : list of Tensor[rows, K]
        Where to start, in blocks of `BLOCK` rows (see `start`); updated in place.
    update : callable
        `multiplicative` or `projected`.
    keep : int, optional
        Entries kept in each direction (winner takes all). Default: all.
    steps, patience : int
        Most steps, and how many without a gain of the share `tolerance` end the fit.
    enough : float
        A loss at which to stop. Default 0: never.
    """
    cross, gram, whole = _sums(recording, codes)
    found = Factors(torch.zeros_like(cross), math.inf)
    best = 0
    for step in range(steps):
        directions = _least_squares(gram, cross, keep)
        scale = gram.diagonal().clamp_min(torch.finfo(gram.dtype).tiny).sqrt()
        directions = directions * scale[:, None]
        products = directions @ directions.T
        low = [t.to(codes[0]) for t in (directions, products, scale)]
        cross, gram = torch.zeros_like(cross), torch.zeros_like(gram)
        for i, x in enumerate(blocks(recording)):
            z = codes[i] = update(codes[i] / low[2], x @ low[0].T, low[1])
            cross += z.T @ x
            gram += z.T @ z
        loss = float(whole - 2 * (cross * directions).sum() + (gram * products).sum())
        found.history.append(loss)
        if loss < found.loss * (1 - tolerance):
            best = step
        if loss < found.loss:
            found.loss, found.directions = loss, directions
        if step - best >= patience or loss <= enough:
            break
    return found


def multiplicative(z: Tensor, target: Tensor, products: Tensor) -> Tensor:
    """``Z * sqrt((P+ + Z Q-) / (P- + Z Q+ + 1e-6))`` with P = X H^T and Q = H H^T: never negative, never worse."""
    above = target.relu()
    positive, negative = z @ products.relu(), z @ (-products).relu()
    return z * ((above + negative) / (above - target + positive + 1e-6)).sqrt()


def projected(z: Tensor, target: Tensor, products: Tensor) -> Tensor:
    """Five accelerated projected gradient steps on ``||x - z H||^2``: reaches a given loss sooner than `multiplicative`."""
    step = 1 / torch.linalg.eigvalsh(products.double())[-1].clamp_min(1e-30).to(z)
    ahead, momentum = z, 1.0
    for _ in range(5):
        new = (ahead - step * (ahead @ products - target)).relu()
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = new + (momentum - 1) / following * (new - z)
        z, momentum = new, following
    return z


def start(recording: Any, found: Survey, components: int, how: str, seed: int) -> list[Tensor]:
    """Codes to start from, by blocks: parts of singular vectors, k-means clusters, or uniform draws; all at least 1e-6."""
    if how not in STARTS:
        raise UsageError(f"unknown start {how!r}.{nearest(str(how), STARTS)} Known: {', '.join(STARTS)}.")
    draw = torch_rng(seed, "decompose", "semi start")
    like = precision_of(recording)
    if how == "svd":
        make = _singular(recording, found, components)
    elif how == "kmeans":
        from microtome.decompose.kmeans import lloyd

        centres = lloyd(recording, components, seed=seed).to(like)
        make = lambda x: torch.nn.functional.one_hot(torch.cdist(x, centres).argmin(1), components).to(like)  # noqa: E731
    else:
        make = lambda x: x.new_zeros(len(x), 0)  # noqa: E731
    out = []
    for x in blocks(recording):
        z = make(x)
        # Coordinates that the start does not give (more components than dimensions) are drawn.
        rest = torch.rand(len(x), components - z.shape[1], generator=draw, dtype=torch.float64).to(like)
        out.append(torch.cat([z, rest], 1).clamp_min(FLOOR))
    return out


def blocks(recording: Any) -> Iterator[Tensor]:
    """The rows in blocks, in their own precision but at least float32."""
    for block in recording.batches(BLOCK, None):
        # A fresh copy: bits of a product depend on alignment, and a memory-mapped row may have any.
        yield block.to(torch.promote_types(block.dtype, torch.float32), copy=True)


def _sums(recording: Any, codes: list[Tensor]) -> tuple[Tensor, Tensor, float]:
    """``Z^T X``, ``Z^T Z`` and ``||X||^2`` in float64."""
    cross = gram = torch.zeros(0)
    whole = 0.0
    for i, (x, z) in enumerate(zip(blocks(recording), codes)):
        a, b = (z.T @ x).double(), (z.T @ z).double()
        cross, gram = (a, b) if i == 0 else (cross + a, gram + b)
        whole += float(x.double().square().sum())
    return cross, gram, whole


def _least_squares(gram: Tensor, cross: Tensor, keep: int | None) -> Tensor:
    """Directions of given codes; in each only the `keep` entries of largest size stay."""
    # Relative to the codes' scale, as unit columns are what the regulariser was stated for.
    ridge = 1e-6 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    directions = torch.linalg.solve(gram + ridge, cross)
    if keep is None or keep >= directions.shape[1]:
        return directions
    kept = directions.abs().topk(keep, dim=1).indices
    return torch.zeros_like(directions).scatter(1, kept, directions.gather(1, kept))


def _singular(recording: Any, found: Survey, components: int) -> Callable[[Tensor], Tensor]:
    """Positive parts of ``V sqrt(S)`` from the second moments; each vector has the sign of its larger part."""
    second = found.mean.new_zeros(found.width, found.width)
    for x in blocks(recording):
        second += (x.T @ x).double()
    values, vectors = torch.linalg.eigh(second)
    values, vectors = values.flip(0), vectors.flip(1)
    count = min(components, int((values > 1e-10 * values[0]).sum()))
    rows = vectors[:, :count] * values[:count].clamp_min(1e-300) ** -0.25
    balance = torch.zeros_like(rows[0])
    for x in blocks(recording):
        z = x.double() @ rows
        balance += (z * z.abs()).sum(0)
    rows = rows * torch.where(balance < 0, -1.0, 1.0)
    return lambda x: x @ rows.to(x)

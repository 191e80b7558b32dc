"""SNMF: sparse sets of neurons that switch on together, with the contexts that switch them on."""

import math
from typing import Any, Literal

import torch

from microtome.decompose.data import require_count, require_rows, survey
from microtome.decompose.judge import reconstruction
from microtome.decompose.nmf import NonNegativeParts
from microtome.decompose.semi_factors import Factors, factorise, multiplicative, start
from microtome.errors import UsageError
from microtome.method import Paper, method


@method(
    question="decompose",
    paper=Paper("Shafran, Geiger, Geva", 2025, "Decomposing MLP Activations into Interpretable Features via Semi-Nonnegative "
                "Matrix Factorization", "https://arxiv.org/abs/2506.10920"),
    needs=("recording",),
    gives="Basis",
    stochastic=True,
    cost="O(steps * rows * components * (d + components)), one streamed pass per step; the codes are held",
    claim="Sparse combinations of co-active neurons steer better than sparse autoencoders and match human concepts.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="Uniqueness: the problem is not convex, other seeds and sizes give other features (compare stability).",
    tiny={"components": 8, "share": 0.2, "steps": 150, "init": "random"},
)  # fmt: skip
def snmf(
    recording: Any, *, components: int = 100, share: float = 0.01, init: Literal["svd", "kmeans", "random"] = "svd",
    steps: int = 5000, patience: int = 300, seed: int = 0,
) -> NonNegativeParts:  # fmt: skip
    """Factor the activations of an MLP into sparse directions of either sign with non-negative codes.

    ``X ~ Z H`` with ``Z >= 0`` [rows, K] and each row of H [K, d] zero but for its ``share * d`` largest entries. In turn:
    ``H <- (Z^T Z + 1e-6 I)^-1 Z^T X``, winner takes all in each row of H, unit columns of Z, and
    ``Z <- Z * sqrt((P+ + Z Q-) / (P- + Z Q+ + 1e-6))`` with ``P = X H^T``, ``Q = H H^T``. The best step is kept.

    Parameters
    ----------
    recording : Recording
        One site, ``[rows, d]``: hidden activations of an MLP.
    components : int
        K. Default 100; paper: 100 to 400.
    share : float
        Share of the units that each direction keeps. Default 0.01, as the paper.
    init : {"svd", "kmeans", "random"}
        Codes to start from. Default "svd".
    steps, patience : int
        Most steps, and how many without a gain end the fit. Defaults 5000 and 300, as the paper.
    seed : int
        For the starts "kmeans" and "random". Default 0.

    Returns
    -------
    NonNegativeParts
        Unit directions, most used first. New rows are encoded by non-negative least squares, the fixed point of the
        update of the codes. ``decode`` writes in the space of the neurons: multiply a direction by the output matrix of
        the MLP to see what it writes to the residual stream.

    Raises
    ------
    UsageError
        When `components` is above the number of rows, `share` is not in (0, 1], or `init` is unknown.
    NonFinite
        When the recording holds NaN or infinity.
    Degenerate
        When the rows do not vary.

    Notes
    -----
    Null: on samples permuted per unit nothing is co-active, and the share of variance left is many times larger.
    Misleads when `share` keeps fewer units than a feature has (it is split over several directions), or when one start is
    trusted: the problem is not convex, and features of equal size can stay mixed. Compare the starts by ``metrics["fvu"]``.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> g = torch.Generator().manual_seed(0)
    >>> features = torch.tensor([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 1.0]])
    >>> x = torch.rand(200, 2, generator=g) @ features
    >>> basis = snmf(Recording.of(x, site="hidden"), components=2, share=0.5, steps=50)
    >>> basis.metrics["fvu"] < 0.01, (basis.directions != 0).sum(1).tolist()
    (True, [2, 2])

    References
    ----------
    Shafran, Geiger, Geva (2025). Decomposing MLP Activations into Interpretable Features via Semi-Nonnegative Matrix
    Factorization. https://arxiv.org/abs/2506.10920
    Ding, Li, Jordan (2010). Convex and Semi-Nonnegative Matrix Factorizations. https://doi.org/10.1109/TPAMI.2008.277
    """
    if not 0 < share <= 1:
        raise UsageError(f"share must lie in (0, 1], got {share!r}.")
    found = survey(recording)
    count = require_count(components, found.rows, "components")
    require_count(steps, 10**9, "steps")
    require_rows(found, count)
    codes = start(recording, found, count, init, seed)
    keep = max(1, math.ceil(share * found.width - 1e-9))
    fitted = factorise(recording, codes, multiplicative, keep=keep, steps=steps, patience=patience)
    return as_basis(recording, found, fitted, "snmf")


def as_basis(recording: Any, found: Any, fitted: Factors, name: str) -> NonNegativeParts:
    """Fitted directions as a basis: unit rows, most used first, with its figures and the curve of the fit."""
    directions = fitted.directions
    rows = directions / directions.norm(dim=1, keepdim=True).clamp_min(torch.finfo(directions.dtype).tiny)
    x = next(iter(recording.batches(1, None)))
    like = x if x.dtype == torch.float64 else x.float()
    # The codes have unit columns, so the norm of a direction is how much of the data it explains.
    order = torch.argsort(directions.norm(dim=1), descending=True, stable=True)
    basis = NonNegativeParts(found.site, rows[order].to(like), name=name, subject=found.subject)
    basis.history = {"step": list(range(len(fitted.history))), "loss": list(fitted.history)}
    basis.metrics = reconstruction(recording, basis)
    return basis

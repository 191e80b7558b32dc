"""Semi-non-negative factors: codes that only add, directions of either sign."""

from typing import Any, Literal

from microtome.decompose.data import require_count, require_rows, survey
from microtome.decompose.nmf import NonNegativeParts
from microtome.decompose.semi_factors import factorise, projected, start
from microtome.decompose.snmf import as_basis
from microtome.method import Paper, method


@method(
    question="decompose",
    paper=Paper("Ding, Li, Jordan", 2010, "Convex and Semi-Nonnegative Matrix Factorizations",
                "https://doi.org/10.1109/TPAMI.2008.277"),
    needs=("recording",),
    gives="Basis",
    stochastic=True,
    cost="O(steps * rows * components * (d + 5 components)), one streamed pass per step; the codes are held",
    claim="Non-negative codes with signed directions: clusters that overlap, for data of either sign.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="Uniqueness: with dense directions a rotation that keeps the codes non-negative fits as well.",
    tiny={"components": 8, "steps": 100, "init": "kmeans"},
)  # fmt: skip
def semi_nmf(
    recording: Any, *, components: int = 32, init: Literal["svd", "kmeans", "random"] = "svd", steps: int = 500,
    patience: int = 20, seed: int = 0,
) -> NonNegativeParts:  # fmt: skip
    """Factor a site into directions of either sign with non-negative codes.

    ``X ~ Z H`` with ``Z >= 0``, minimising ``||X - Z H||_F^2`` by alternating least squares: H in closed form, Z by
    projected gradient. `snmf` is the same with sparse directions.

    Parameters
    ----------
    recording : Recording
        One site, ``[rows, d]``.
    components : int
        Number of directions. Default 32.
    init : {"svd", "kmeans", "random"}
        Codes to start from. Default "svd"; paper: "kmeans".
    steps, patience : int
        Most steps, and how many without a gain of a millionth end the fit. Defaults 500 and 20.
    seed : int
        For the starts "kmeans" and "random". Default 0.

    Returns
    -------
    NonNegativeParts
        Unit directions, most used first.

    Raises
    ------
    UsageError
        When `components` is above the number of rows, or `init` is unknown.
    NonFinite
        When the recording holds NaN or infinity.
    Degenerate
        When the rows do not vary.

    Notes
    -----
    Null: on samples permuted per unit the loss is that of a random basis of the same size, nearly.
    Misleads when the site's mean is large: one direction is spent on it.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> x = torch.rand(64, 2, generator=torch.Generator().manual_seed(0)) @ torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.5, 1.0]])
    >>> semi_nmf(Recording.of(x, site="hidden"), components=2, init="kmeans").metrics["fvu"] < 0.01
    True

    References
    ----------
    Ding, Li, Jordan (2010). Convex and Semi-Nonnegative Matrix Factorizations. https://doi.org/10.1109/TPAMI.2008.277
    """
    found = survey(recording)
    count = require_count(components, found.rows, "components")
    require_rows(found, count)
    codes = start(recording, found, count, init, seed)
    most = require_count(steps, 10**9, "steps")
    return as_basis(recording, found, factorise(recording, codes, projected, steps=most, patience=patience), "semi_nmf")

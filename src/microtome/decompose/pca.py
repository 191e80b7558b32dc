"""Principal components of a site."""

from typing import Any

import torch

from microtome.decompose.data import precision_of, require_count, survey
from microtome.decompose.judge import reconstruction
from microtome.method import Paper, method
from microtome.subject.basis import Linear


@method(
    question="decompose",
    paper=Paper("Hotelling", 1933, "Analysis of a complex of statistical variables into principal components",
                "https://doi.org/10.1037/h0071325"),
    needs=("recording",),
    gives="Basis",
    stochastic=False,
    cost="O(rows * d^2 + d^3), two streamed passes",
    claim="No other linear basis of the same size leaves less variance unexplained.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That a component is one concept: components are forced to be orthogonal and are mixed where "
    "variances are equal.",
    tiny={"components": 4},
)  # fmt: skip
def pca(recording: Any, *, components: int | None = None) -> Linear:
    """Find the orthogonal directions of largest variance.

    ``C = mean (x - m)(x - m)^T = V diag(lambda) V^T``; ``z = (x - m) V``, ``x' = z V^T + m``, largest lambda first.

    Parameters
    ----------
    recording : Recording
        One site, ``[rows, d]``; streamed, never held as a whole.
    components : int, optional
        How many to keep, at most ``min(rows - 1, d)``. Default: all whose variance is not 0.

    Returns
    -------
    Linear
        Orthonormal rows; each is given the sign that makes its largest entry positive. ``history["explained"]`` holds
        the share of variance of each component.

    Raises
    ------
    UsageError
        When more components are asked for than rows and units allow.
    NonFinite
        When the recording holds NaN or infinity.
    Degenerate
        When the rows do not vary.

    Notes
    -----
    Null: on samples permuted per coordinate the spectrum flattens to the variances of the single units.
    Misleads when a few outlier rows dominate: the first components then describe those rows.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> x = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    >>> basis = pca(Recording.of(x, site="hidden"))
    >>> basis.dim, basis.directions.round(decimals=3).tolist()
    (1, [[0.7070000171661377, 0.7070000171661377]])

    References
    ----------
    Hotelling (1933). Analysis of a complex of statistical variables into principal components.
    https://doi.org/10.1037/h0071325
    """
    found = survey(recording)
    covariance = found.mean.new_zeros(found.width, found.width)
    for block in recording.batches(8192, None):
        centred = block.to(found.mean) - found.mean
        covariance += centred.T @ centred
    values, vectors = torch.linalg.eigh(covariance / found.rows)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1).T
    rank = int((values > 1e-12 * values[0]).sum())
    keep = rank if components is None else require_count(components, min(found.rows - 1, found.width), "components")
    rows = vectors[:keep]
    peak = rows.gather(1, rows.abs().argmax(1, keepdim=True))
    like = precision_of(recording)
    rows = (rows * torch.where(peak < 0, -1.0, 1.0)).to(like)
    basis = Linear(found.site, rows.T.contiguous(), rows, found.mean.to(like), name="pca", subject=found.subject)
    basis.history = {"component": list(range(keep)), "explained": (values[:keep] / values.sum()).tolist()}
    basis.metrics = reconstruction(recording, basis)
    return basis

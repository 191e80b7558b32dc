"""Independent components of a site."""

from typing import Any

import numpy as np
import torch

from microtome.decompose.data import precision_of, require_count, survey
from microtome.decompose.judge import reconstruction
from microtome.method import Paper, method
from microtome.rng import derive
from microtome.subject.basis import Linear


@method(
    question="decompose",
    paper=Paper("Hyvarinen", 1999, "Fast and robust fixed-point algorithms for independent component analysis",
                "https://doi.org/10.1109/72.761722"),
    needs=("recording",),
    gives="Basis",
    stochastic=True,
    cost="O(steps * rows * components^2), the rows held in memory in float64",
    claim="Sources that are independent and not Gaussian are recovered up to sign, scale and order.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="More components than units; so none of the features that share directions in superposition.",
    tiny={"steps": 50},
)  # fmt: skip
def ica(
    recording: Any, *, components: int | None = None, steps: int = 200, tolerance: float = 1e-4, seed: int = 0
) -> Linear:
    """Find linear coordinates that are as independent as possible (FastICA, log-cosh contrast).

    ``z = (x - m) W`` with unit variance and maximal negentropy, ``x' = z A + m``.

    Parameters
    ----------
    recording : Recording
        One site, ``[rows, d]``.
    components : int, optional
        How many, at most the rank of the data. Default: the rank.
    steps : int
        Fixed-point iterations at most. Default 200.
    tolerance : float
        Change of the unmixing matrix at which to stop. Default 1e-4.
    seed : int
        Start of the unmixing matrix. Default 0.

    Returns
    -------
    Linear
        Sorted by the norm of the directions; signs make the skewness of each coordinate positive.

    Raises
    ------
    UsageError
        When more components are asked for than the data have dimensions.
    NonFinite
        When the recording holds NaN or infinity.
    Degenerate
        When the rows do not vary.

    Notes
    -----
    Null: Gaussian data of the same covariance give arbitrary rotations; two seeds then disagree (`judge.stability`).
    Misleads when it did not converge; scikit-learn's ConvergenceWarning passes through.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> s = torch.rand(500, 2, generator=torch.Generator().manual_seed(0)) ** 3
    >>> basis = ica(Recording.of(s @ torch.tensor([[1.0, 1.0], [0.0, 1.0]]), site="hidden"))
    >>> basis.dim
    2

    References
    ----------
    Hyvarinen (1999). Fast and robust fixed-point algorithms for independent component analysis.
    https://doi.org/10.1109/72.761722
    """
    from sklearn.decomposition import FastICA

    found = survey(recording)
    mean = found.mean.cpu().numpy()
    x = recording.matrix().double().cpu().numpy() - mean
    # Onto the dimensions that vary first: whitening divides by the standard deviation of each.
    spread, vectors = np.linalg.eigh(x.T @ x / len(x))
    varying = vectors[:, spread > 1e-12 * spread[-1]]
    count = varying.shape[1] if components is None else require_count(components, varying.shape[1], "components")
    model = FastICA(
        count, whiten="unit-variance", max_iter=steps, tol=tolerance, random_state=derive(seed, "ica") % 2**32
    )
    z = np.asarray(model.fit_transform(x @ varying))
    sign = np.where((z**3).mean(0) < 0, -1.0, 1.0)
    order = np.argsort(-np.linalg.norm(model.mixing_, axis=0), kind="stable")
    encoder, decoder = varying @ (model.components_.T * sign)[:, order], (model.mixing_ * sign).T[order] @ varying.T
    like = precision_of(recording)
    parts = [torch.from_numpy(np.ascontiguousarray(part)).to(like) for part in (encoder, decoder, mean)]
    basis = Linear(found.site, *parts, name="ica", subject=found.subject)
    basis.metrics = reconstruction(recording, basis)
    return basis

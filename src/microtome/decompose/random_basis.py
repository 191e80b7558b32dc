"""Random orthonormal directions: the null for every fitted linear basis."""

from typing import Any

import torch

from microtome.decompose.data import precision_of, require_count, survey
from microtome.decompose.judge import reconstruction
from microtome.method import Paper, method
from microtome.rng import torch_rng
from microtome.subject.basis import Linear


@method(
    question="decompose",
    paper=Paper(
        "Cunningham et al.", 2023, "Sparse Autoencoders Find Highly Interpretable Features in Language Models",
        "https://arxiv.org/abs/2309.08600",
    ),
    needs=("recording",),
    gives="Basis",
    stochastic=True,
    cost="O(d * components^2), one streamed pass",
    claim="Random directions score at chance; what they reach is what a fitted basis must exceed.",
    notion="decomposability",
    serves="trust",
    cannot_claim="Anything about the site: it is the null.",
    tiny={"components": 4},
    skips={"truth": "random directions are the null", "null": "random directions are the null"},
)  # fmt: skip
def random_basis(recording: Any, *, components: int | None = None, seed: int = 0) -> Linear:
    """Draw orthonormal directions uniformly (the null for PCA, ICA and probes).

    ``z = (x - m) Q``, ``x' = z Q^T + m`` with Q the Q factor of a Gaussian matrix.

    Parameters
    ----------
    recording : Recording
        One site; gives the width and the mean m.
    components : int, optional
        How many, at most d. Default d.
    seed : int
        Default 0.

    Returns
    -------
    Linear
        Orthonormal rows.

    Raises
    ------
    UsageError
        When components lies outside 1..d.
    NonFinite
        When the recording holds NaN or infinity.
    Degenerate
        When the rows do not vary.

    Notes
    -----
    Null: this is one; c of d directions leave ``1 - c / d`` of the variance unexplained on average.
    Misleads when the data are far from isotropic and one draw is used: draw several seeds.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> basis = random_basis(Recording.of(torch.eye(4), site="hidden"), components=2)
    >>> bool(torch.allclose(basis.directions @ basis.directions.T, torch.eye(2), atol=1e-6))
    True

    References
    ----------
    Cunningham et al. (2023). Sparse Autoencoders Find Highly Interpretable Features in Language Models.
    https://arxiv.org/abs/2309.08600
    """
    found = survey(recording)
    count = require_count(found.width if components is None else components, found.width, "components")
    draw = torch.randn(found.width, count, generator=torch_rng(seed, "random_basis"), dtype=torch.float64)
    q, r = torch.linalg.qr(draw)
    like = precision_of(recording)
    q = (q * torch.sign(torch.diagonal(r))).to(like)  # the sign makes the draw uniform over rotations
    basis = Linear(found.site, q, q.T.contiguous(), found.mean.to(like), name="random_basis", subject=found.subject)
    basis.metrics = reconstruction(recording, basis)
    return basis

"""Differential binary masks: which neurons, or coordinates of a given linear basis, carry a causal variable."""

from typing import Any

import torch

from microtome.errors import UsageError
from microtome.method import Paper, method
from microtome.subject.basis import Linear, require_same
from microtome.subject.frame import Position
from microtome.trace.alignment.basis import Aligned
from microtome.trace.alignment.fit import fitted
from microtome.trace.alignment.maps import Masks


@method(
    question="trace",
    paper=Paper("De Cao, Schmid, Hupkes, Titov", 2022, "Sparse Interventions in Language Models with Differentiable Masking",
                "https://arxiv.org/abs/2112.06837"),
    needs=("subject", "task"),
    gives="Basis",
    stochastic=True,
    cost="as das, with a product by the given basis instead of a learned rotation",
    claim="A sparse set of neurons, learned by gradient, carries a variable.",
    notion="decomposability",
    serves="causality",
    cannot_claim="That neurons are the right coordinates: compare with a rotation on the same pairs.",
    tiny={"steps": 200, "batch": 32, "lr": 0.02, "penalty": 0.05},
)  # fmt: skip
def coordinate_masks(
    subject: Any, pairs: Any, *, site: str, position: Position = None, basis: Any = None, penalty: float = 0.1,
    steps: int = 500, batch: int = 64, lr: float = 1e-2, seed: int = 0,
) -> Aligned:  # fmt: skip
    """Learn which coordinates of a fixed basis to interchange for each variable.

    ``h' = h + sum_j ((s_j - h) E * sigmoid(w_j / T)) D``; minimises cross-entropy against the counterfactual labels plus
    ``penalty * sum_j mean sigmoid(w_j / T)``. T falls from 1 to 0.01; the basis returned takes the coordinates with w > 0.

    Parameters
    ----------
    subject : Subject
    pairs : Interchanges
    site : str
    position : int, list of int, tensor or None
        Positions written; None = all.
    basis : Linear, optional
        Coordinates to choose from, e.g. principal components. Default: the units of the site.
    penalty : float, default 0.1
        Weight of the share of coordinates taken.
    steps, batch : int
        Updates and pairs per update. Default 500 of 64.
    lr : float, default 1e-2
        Masks learn ten times as fast.
    seed : int, default 0
        Batches.

    Returns
    -------
    Aligned
        All coordinates of the basis, with the chosen ones in ``blocks``; variables may share coordinates.

    Raises
    ------
    UsageError, SiteError, ShapeError, SubjectMismatch
        A basis that is not linear or of another site; a negative penalty; otherwise as `das`.
    Degenerate
        No pair whose counterfactual differs from the base answer.
    NonFinite
        Values, logits or the loss are NaN.

    Notes
    -----
    Null: on a network with re-drawn weights accuracy stays near the unedited output's share.
    Misleads when two variables share a coordinate: interchanging both then takes the source of the later one.

    Examples
    --------
    >>> import torch
    >>> from microtome.stimuli import Interchanges
    >>> from microtome.subject.subject import Subject
    >>> subject = Subject(torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(4, 2, bias=False)))
    >>> _ = subject.module[1].weight.data.copy_(torch.tensor([[0.0, 1, 0, 0], [0.0, -1, 0, 0]]))
    >>> base, source = torch.randn(2, 256, 4, generator=torch.Generator().manual_seed(0))
    >>> label = lambda x: (x[:, 1] < 0).long()
    >>> pairs = Interchanges("x1", base, {"x1": source}, label(source), label(base))
    >>> coordinate_masks(subject, pairs, site="0", steps=100).blocks
    {'x1': [1]}

    References
    ----------
    De Cao, Schmid, Hupkes, Titov (2022). Sparse Interventions in Language Models with Differentiable Masking.
    https://arxiv.org/abs/2112.06837
    """
    if not penalty >= 0:
        raise UsageError(f"penalty must be a number >= 0, got {penalty!r}.")
    if basis is not None:
        if not isinstance(basis, Linear) or bool(basis.offset.any()):
            raise UsageError(
                f"masks choose coordinates of a linear basis without offset, got {type(basis).__name__}. An offset cancels in "
                "interchanges: Linear(site, basis.encoder, basis.decoder)."
            )
        require_same(basis, site=subject.site(site).name)

    def make(data: Any) -> Masks:
        eye = torch.eye(data.base.shape[-1])
        encoder, decoder = (eye, eye) if basis is None else (basis.encoder, basis.decoder)
        return Masks(data.pairs.variables, encoder, decoder, penalty)

    return fitted(subject, pairs, site, position, make, steps=steps, batch=batch, lr=lr, seed=seed, name="coordinate_masks")

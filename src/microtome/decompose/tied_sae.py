"""The tied ReLU autoencoder: one matrix of unit rows reads and writes."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from microtome.decompose.dictionary import SparseDictionary
from microtome.decompose.formula import Formula, Parameters, Progress, Step, keep_off_radius, renormalise
from microtome.decompose.train import train
from microtome.errors import UsageError
from microtome.method import Paper, method


@dataclass(frozen=True)
class Tied(Formula):
    """``c = ReLU(M x + b)``, ``x' = M^T c``, ``L = ||x - x'||^2 + l1 sum_i c_i`` with unit rows of M.

    Attributes
    ----------
    l1 : float
        Weight of the penalty, reached over the first 5% of training.
    """

    l1: float

    def start(self, directions: Tensor, mean: Tensor) -> Parameters:
        return {"encoder": directions, "b_enc": directions.new_zeros(len(directions))}

    def loss(self, p: Parameters, x: Tensor, y: Tensor, progress: Progress) -> Step:
        c = (x @ p["encoder"].T + p["b_enc"]).relu()
        error = (x - c @ p["encoder"]).square().sum()
        loss = (error + self.l1 * progress.ramp(0.05) * c.sum()) / len(x)
        return Step(loss, error.detach(), (c > 0).sum(0))

    def before_update(self, p: Parameters, progress: Progress) -> None:
        keep_off_radius(p["encoder"])

    def after_update(self, p: Parameters, x: Tensor, y: Tensor, progress: Progress, revive) -> None:
        renormalise(p["encoder"])

    def export(self, p: Parameters) -> dict[str, Any]:
        encoder, zeros = p["encoder"], p["encoder"].new_zeros(p["encoder"].shape[1])
        return {
            "W_enc": encoder.T.contiguous(), "b_enc": p["b_enc"], "W_dec": encoder.clone(), "b_dec": zeros,
            "activation": "relu", "centred": False,
        }  # fmt: skip


@method(
    question="decompose",
    paper=Paper(
        "Cunningham et al.", 2023, "Sparse Autoencoders Find Highly Interpretable Features in Language Models",
        "https://arxiv.org/abs/2309.08600",
    ),
    needs=("recording",),
    gives="Basis",
    stochastic=True,
    cost="O(steps * batch * d * latents), five dense products per update",
    claim="Tied dictionaries score higher on automatic interpretation than PCA, ICA, random directions and neurons.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That the network uses these directions; and magnitudes are shrunk by the penalty.",
    tiny={"latents": 8, "l1": 1.0, "steps": 200, "batch": 64, "lr": 0.03},
)  # fmt: skip
def tied_sae(
    recording: Any, *, latents: int = 4096, l1: float = 1.0, steps: int = 2000, batch: int = 1024,
    lr: float | None = None, seed: int = 0,
) -> SparseDictionary:  # fmt: skip
    """Fit the tied ReLU autoencoder of the paper: the same unit directions read and write.

    ``c = ReLU(x M^T + b)``, ``x' = c M``; minimises ``||x - x'||^2 + l1 sum_i c_i``. Inputs are scaled to
    ``E ||x - mean||^2 = d`` during training and not centred.

    Parameters
    ----------
    recording : Recording
        One site, ``[rows, d]``.
    latents : int
        Dictionary size. Paper: mostly twice d. Default 4096.
    l1 : float
        Weight of the penalty against the squared error summed over d. Default 1. Paper: 8.6e-4, on inputs that were
        not scaled.
    steps, batch : int
        Updates, and rows per update. Default 2000 of 1024.
    lr : float, optional
        Adam's rate. Default ``2e-4 / sqrt(latents / 2^14)``, at most 5e-3. Paper: 1e-3.
    seed : int
        Start and order of batches. Default 0.

    Returns
    -------
    SparseDictionary
        Unit directions, ``W_enc = W_dec^T``; `metrics` (fvu, l0, dead, shrinkage) and `training`.

    Raises
    ------
    UsageError
        When l1 is negative or a size is below 1.
    NonFinite
        When the recording holds NaN or infinity, or training diverges.
    Degenerate
        When the rows do not vary.

    Notes
    -----
    Null: on samples permuted per coordinate the directions agree with true ones no better than random ones do.
    Misleads when the site has a large mean: it takes latents to write it. `relu_sae` has a bias for that.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    >>> sae = tied_sae(Recording.of(x, site="hidden"), latents=16, steps=20, batch=32)
    >>> torch.equal(sae.W_enc, sae.W_dec.T)
    True

    References
    ----------
    Cunningham et al. (2023). Sparse Autoencoders Find Highly Interpretable Features in Language Models.
    https://arxiv.org/abs/2309.08600
    """
    if not l1 >= 0:
        raise UsageError(f"l1 must be a number >= 0, got {l1!r}.")
    return train(recording, Tied(l1), latents=latents, steps=steps, batch=batch, lr=lr, seed=seed, name="tied_sae")

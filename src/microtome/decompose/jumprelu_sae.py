"""The JumpReLU sparse autoencoder: learnt thresholds, trained on the number of active latents itself."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from microtome.decompose.dictionary import SparseDictionary
from microtome.decompose.formula import Formula, Parameters, Progress, Step, keep_off_radius, renormalise
from microtome.decompose.jump import jump, step
from microtome.decompose.train import train
from microtome.errors import UsageError
from microtome.method import Paper, method

#: Threshold at the start, in units of a pre-activation's spread.
START = 0.1


@dataclass(frozen=True)
class JumpReLU(Formula):
    """``L = ||x - x'||^2 / d + sparsity sum_i H(pre_i - t_i)``, mean over rows; unit directions, ``t = e^log_t``.

    Attributes
    ----------
    sparsity : float
        Weight of one active latent, reached over the first 5% of training.
    window : float
        Width in which the jump is felt.
    """

    sparsity: float
    window: float

    def start(self, directions: Tensor, mean: Tensor) -> Parameters:
        p = super().start(directions, mean)
        return p | {"log_threshold": torch.full_like(p["b_enc"], math.log(START))}

    def loss(self, p: Parameters, x: Tensor, y: Tensor, progress: Progress) -> Step:
        pre, threshold = self.inputs(p, x) @ p["encoder"].T + p["b_enc"], p["log_threshold"].exp()
        f = jump(pre, threshold, self.window)
        error = (y - self.output(p, x, f @ p["decoder"])).square().sum()
        active = step(pre, threshold, self.window).sum()
        loss = error / y.numel() + self.sparsity * progress.ramp(0.05) * active / len(x)
        return Step(loss, error.detach(), (f > 0).sum(0))

    def before_update(self, p: Parameters, progress: Progress) -> None:
        keep_off_radius(p["decoder"])

    def after_update(self, p: Parameters, x: Tensor, y: Tensor, progress: Progress, revive) -> None:
        renormalise(p["decoder"])

    def export(self, p: Parameters) -> dict[str, Any]:
        return {
            "W_enc": p["encoder"].T.contiguous(), "b_enc": p["b_enc"], "W_dec": p["decoder"], "b_dec": p["b_dec"],
            "activation": "jumprelu", "threshold": p["log_threshold"].exp(),
        }  # fmt: skip


@method(
    question="decompose",
    paper=Paper(
        "Rajamanoharan et al.", 2024, "Jumping Ahead: Improving Reconstruction Fidelity with JumpReLU Sparse Autoencoders",
        "https://arxiv.org/abs/2407.14435",
    ),
    needs=("recording",),
    gives="Basis",
    stochastic=True,
    cost="O(steps * batch * d * latents), five dense products per update",
    claim="Straight-through gradients train thresholds on L0 itself; it rebuilds at least as well as TopK and Gated.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That the network uses these directions, or that they are the only dictionary that fits.",
    tiny={"latents": 8, "sparsity": 0.05, "window": 0.5, "steps": 300, "batch": 64, "lr": 0.03},
)  # fmt: skip
def jumprelu_sae(
    recording: Any, *, latents: int = 4096, sparsity: float = 1e-3, window: float = 0.1,
    steps: int = 2000, batch: int = 1024, lr: float | None = None, seed: int = 0,
) -> SparseDictionary:  # fmt: skip
    """Fit a sparse autoencoder with learnt thresholds and a penalty on the number of active latents.

    ``f_i = pre_i H(pre_i - t_i)`` with ``pre = (x - b_dec) W_enc + b_enc``, ``x' = f W_dec + b_dec``; minimises the share of
    variance unexplained plus `sparsity` times the number of active latents. The jump has no gradient in t; in its place
    stands that of the expected loss, estimated from samples with pre within `window` of t.

    Parameters
    ----------
    recording : Recording
        One site, ``[rows, d]``.
    latents : int
        Dictionary size.  Default 4096.
    sparsity : float
        What share of the variance a latent must explain to be worth its place. Default 1e-3. Paper: swept.
    window : float
        In units of the spread of a random pre-activation. Default 0.1. Paper: ``0.001 sqrt(d)``.
    steps, batch : int
        Updates, and rows per update. Default 2000 of 1024.
    lr : float, optional
        Adam's rate. Default ``2e-4 / sqrt(latents / 2^14)``, at most 5e-3. Paper: 7e-5.
    seed : int
        Start and order of batches. Default 0.

    Returns
    -------
    SparseDictionary
        Unit directions; codes in the units of the site; `metrics` (fvu, l0, dead, shrinkage) and `training`.

    Raises
    ------
    UsageError
        When an option is out of its range.
    NonFinite
        When the recording holds NaN or infinity, or training diverges.
    Degenerate
        When the rows do not vary.

    Notes
    -----
    Null: on samples permuted per coordinate the directions agree with true ones no better than random ones do.
    Misleads when trained briefly: thresholds move only by samples that fall into the window.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    >>> sae = jumprelu_sae(Recording.of(x, site="hidden"), latents=16, steps=20, batch=32)
    >>> sae.encode(x).shape
    torch.Size([256, 16])

    References
    ----------
    Rajamanoharan et al. (2024). Jumping Ahead: Improving Reconstruction Fidelity with JumpReLU Sparse Autoencoders.
    https://arxiv.org/abs/2407.14435
    """
    if not sparsity >= 0 or not window > 0:
        raise UsageError(f"sparsity must be >= 0 and window > 0, got {sparsity!r} and {window!r}.")
    return train(
        recording, JumpReLU(sparsity, window), latents=latents, steps=steps, batch=batch, lr=lr, seed=seed,
        name="jumprelu_sae",
    )  # fmt: skip

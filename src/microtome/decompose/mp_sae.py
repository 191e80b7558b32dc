"""The matching-pursuit autoencoder: the encoder is matching pursuit in the learnt atoms."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from microtome.decompose.formula import Formula, Parameters, Progress, Step, keep_off_radius, renormalise, rows_to_unit
from microtome.decompose.pursuit import PursuitDictionary, pursue
from microtome.decompose.train import train
from microtome.errors import UsageError
from microtome.method import Paper, method

if TYPE_CHECKING:
    from microtome.decompose.ends import Ends


@dataclass(frozen=True)
class Pursuit(Formula):
    """``L = ||x - b - z D||^2 / d`` with z found by matching pursuit; unit atoms. No sparsity term: k bounds the code.

    Attributes
    ----------
    k : int
        Atoms per row.
    """

    k: int

    def start(self, directions: Tensor, mean: Tensor) -> Parameters:
        return {"decoder": directions.clone(), "b_dec": mean.clone()}

    def loss(self, p: Parameters, x: Tensor, y: Tensor, progress: Progress) -> Step:
        chosen, values, residual = pursue(self.inputs(p, x), p["decoder"], self.k)
        error = residual.square().sum()
        fired = torch.bincount(chosen[values.detach() > 0], minlength=len(p["decoder"]))
        return Step(error / x.numel(), error.detach(), fired)

    def before_update(self, p: Parameters, progress: Progress) -> None:
        keep_off_radius(p["decoder"])

    @torch.no_grad()
    def after_update(self, p: Parameters, x: Tensor, y: Tensor, progress: Progress, revive) -> None:
        """Unit atoms; in the first half of training, dead ones restart from what is worst rebuilt in this batch."""
        renormalise(p["decoder"])
        if progress.step % 10 or progress.step > progress.steps // 2 or not len(progress.dead):
            return
        residual = pursue(self.inputs(p, x), p["decoder"], self.k)[2]
        worst = residual.square().sum(1).topk(min(len(progress.dead), max(1, len(x) // 16))).indices
        revive({"decoder": rows_to_unit(residual[worst])}, progress.dead[: len(worst)])

    def build(self, p: Parameters, ends: "Ends", name: str) -> PursuitDictionary:  # pyright: ignore[reportIncompatibleMethodOverride]
        scale = float(ends.scale_out[0])
        return PursuitDictionary(
            ends.source.site, W_dec=p["decoder"], b_dec=p["b_dec"] / scale, steps=self.k, name=name,
            subject=ends.source.subject,
        )  # fmt: skip


@method(
    question="decompose",
    paper=Paper(
        "Costa et al.", 2025, "From Flat to Hierarchical: Extracting Sparse Representations with Matching Pursuit",
        "https://arxiv.org/abs/2506.03093",
    ),
    needs=("recording",),
    gives="Basis",
    stochastic=True,
    cost="O(steps * batch * latents * (d + k)): one dense product per update, and a row of the Gram matrix per atom",
    claim="Codes found in the residual keep parent-and-child structure, and more atoms never do harm.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That the network uses these directions, or that they are the only dictionary that fits.",
    tiny={"latents": 12, "k": 2, "steps": 200, "batch": 64, "lr": 0.03},
)  # fmt: skip
def mp_sae(
    recording: Any, *, latents: int = 4096, k: int = 32, steps: int = 2000,
    batch: int = 1024, lr: float | None = None, seed: int = 0,
) -> PursuitDictionary:  # fmt: skip
    """Fit a dictionary whose codes are found by matching pursuit.

    ``r_0 = x - b``; k times: ``j = argmax D r``, ``z_j += s_j = D_j . r``, ``r <- r - s_j D_j``; ``x' = z D + b``. Minimises
    ``||r_k||^2``, with gradients through the inner products; atoms have norm 1.

    Parameters
    ----------
    recording : Recording
        One site, ``[rows, d]``.
    latents : int
        Dictionary size.  Default 4096.
    k : int
        Atoms per row. Default 32.
    steps, batch : int
        Updates, and rows per update. Default 2000 of 1024.
    lr : float, optional
        Adam's rate. Default ``2e-4 / sqrt(latents / 2^14)``, at most 5e-3.
    seed : int
        Start and order of batches. Default 0.

    Returns
    -------
    PursuitDictionary
        ``with_steps(t)`` gives the same atoms with another number of steps; `metrics` (fvu, l0, dead, shrinkage).

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
    Misleads when L0 is compared: an atom taken twice counts once.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    >>> sae = mp_sae(Recording.of(x, site="hidden"), latents=16, k=2, steps=20, batch=32)
    >>> bool(((sae.encode(x) != 0).sum(1) <= 2).all())
    True

    References
    ----------
    Costa et al. (2025). From Flat to Hierarchical: Extracting Sparse Representations with Matching Pursuit.
    https://arxiv.org/abs/2506.03093
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise UsageError(f"k must be a whole number >= 1, got {k!r}.")
    return train(recording, Pursuit(k), latents=latents, steps=steps, batch=batch, lr=lr, seed=seed, name="mp_sae")

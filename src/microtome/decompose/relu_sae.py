"""The ReLU sparse autoencoder with an L1 penalty weighted by the norms of its directions."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from microtome.decompose.dictionary import SparseDictionary
from microtome.decompose.formula import Formula, Parameters, Progress, Step, rows_to_unit
from microtome.decompose.train import train
from microtome.errors import UsageError
from microtome.method import Paper, method
from microtome.rng import torch_rng


@dataclass(frozen=True)
class ReLU(Formula):
    """``L = ||x - x'||^2 + l1 sum_i f_i ||W_dec,i||``, summed over d, mean over rows; free norms; dead resampled.

    Attributes
    ----------
    l1 : float
        Weight of the penalty, reached over the first 5% of training.
    seed : int
        For the inputs that dead latents are restarted from.
    widths : tuple of int
        Of the sites side by side in y, where there are several (crosscoders).
    """

    l1: float
    seed: int = 0
    widths: tuple[int, ...] = ()

    def loss(self, p: Parameters, x: Tensor, y: Tensor, progress: Progress) -> Step:
        f, rebuilt = self.forward(p, x)
        error = (y - rebuilt).square().sum()
        penalty = (f.sum(0) * self.norms(p["decoder"])).sum()
        loss = (error + self.l1 * progress.ramp(0.05) * penalty) / len(x)
        return Step(loss, error.detach(), (f > 0).sum(0))

    def norms(self, decoder: Tensor) -> Tensor:
        """What the penalty weighs each latent by: the norm of its direction, summed over sites where there are several."""
        if not self.widths:
            return decoder.norm(dim=1)
        return torch.stack([part.norm(dim=1) for part in decoder.split(self.widths, 1)]).sum(0)

    def forward(self, p: Parameters, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and reconstruction."""
        f = (self.inputs(p, x) @ p["encoder"].T + p["b_enc"]).relu()
        return f, self.output(p, x, f @ p["decoder"])

    @torch.no_grad()
    def after_update(self, p: Parameters, x: Tensor, y: Tensor, progress: Progress, revive) -> None:
        """Restart dead latents from badly rebuilt inputs (Bricken et al. 2023), at 1/5, 2/5 and 3/5 of training."""
        every = max(1, progress.steps // 5)
        if progress.step % every or progress.step > 3 * every:
            return
        dead = (progress.silent >= max(1, every // 2)).nonzero().flatten()
        badness = (y - self.forward(p, x)[1]).square().sum(1).square()
        if not len(dead) or not float(badness.sum()) > 0:
            return
        generator = torch_rng(self.seed, "decompose", "resample", progress.step)
        chosen = torch.multinomial(badness.double().cpu(), len(dead), replacement=True, generator=generator)
        chosen = chosen.to(x.device)
        unit = rows_to_unit(self.inputs(p, x[chosen]))
        written = unit if self.centred else rows_to_unit(y[chosen] - p["b_dec"])
        alive = torch.ones(len(p["encoder"]), dtype=torch.bool, device=x.device)
        alive[dead] = False
        size = p["encoder"][alive].norm(dim=1).mean() if bool(alive.any()) else x.new_ones(())
        revive({"decoder": written, "encoder": 0.2 * size * unit, "b_enc": unit.new_zeros(len(dead))}, dead)

    def export(self, p: Parameters) -> dict[str, Any]:
        """Unit directions: the norms move into the encoder, which leaves the function unchanged."""
        norms = self.norms(p["decoder"]).clamp_min(torch.finfo(p["decoder"].dtype).tiny)
        encoder = (p["encoder"] * norms[:, None]).T.contiguous()
        return {
            "W_enc": encoder, "b_enc": p["b_enc"] * norms, "W_dec": p["decoder"] / norms[:, None], "b_dec": p["b_dec"],
            "activation": "relu",
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
    claim="An overcomplete dictionary trained for sparsity recovers ground-truth directions that PCA and ICA miss.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That the network uses these directions; and magnitudes are shrunk by the penalty.",
    tiny={"latents": 8, "l1": 2.0, "steps": 200, "batch": 64, "lr": 0.03},
)  # fmt: skip
def relu_sae(
    recording: Any, *, latents: int = 4096, l1: float = 1.0, steps: int = 2000, batch: int = 1024,
    lr: float | None = None, seed: int = 0,
) -> SparseDictionary:  # fmt: skip
    """Fit a sparse autoencoder with ReLU codes and an L1 penalty.

    ``f = ReLU((x - b_dec) W_enc + b_enc)``, ``x' = f W_dec + b_dec``; minimises
    ``||x - x'||^2 + l1 sum_i f_i ||W_dec,i||``. Inputs are scaled to ``E ||x - mean||^2 = d`` during training, so that
    `l1` has the same meaning on every site; the norms of the directions are folded into the encoder at the end.

    Parameters
    ----------
    recording : Recording
        One site, ``[rows, d]``.
    latents : int
        Dictionary size. Paper: mostly twice d. Default 4096.
    l1 : float
        Weight of the penalty against the squared error summed over d. A latent is shrunk by about ``l1 / 2`` scaled
        units. Default 1. Paper: 8.6e-4, on inputs that were not scaled.
    steps, batch : int
        Updates, and rows per update. Default 2000 of 1024.
    lr : float, optional
        Adam's rate. Default ``2e-4 / sqrt(latents / 2^14)``, at most 5e-3. Paper: 1e-3.
    seed : int
        Start, order of batches, restarts of dead latents. Default 0.

    Returns
    -------
    SparseDictionary
        Unit directions; codes in the units of the site; `metrics` (fvu, l0, dead, shrinkage) and `training`.

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
    Misleads when magnitudes matter: the penalty shrinks them (see ``metrics["shrinkage"]``).

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    >>> sae = relu_sae(Recording.of(x, site="hidden"), latents=16, steps=20, batch=32)
    >>> bool((sae.encode(x) >= 0).all())
    True

    References
    ----------
    Cunningham et al. (2023). Sparse Autoencoders Find Highly Interpretable Features in Language Models.
    https://arxiv.org/abs/2309.08600
    Bricken et al. (2023). Towards Monosemanticity. https://transformer-circuits.pub/2023/monosemantic-features
    """
    if not l1 >= 0:
        raise UsageError(f"l1 must be a number >= 0, got {l1!r}.")
    return train(recording, ReLU(l1, seed), latents=latents, steps=steps, batch=batch, lr=lr, seed=seed, name="relu_sae")

"""The gated sparse autoencoder: one path decides which latents are on, another how much."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from microtome.decompose.dictionary import SparseDictionary
from microtome.decompose.formula import Formula, Parameters, Progress, Step, keep_off_radius, renormalise
from microtome.decompose.train import train
from microtome.errors import UsageError
from microtome.method import Paper, method


@dataclass(frozen=True)
class Gated(Formula):
    """``g = x W + b_gate``, ``f = 1[g > 0] ReLU(e^r (x W) + b_mag)``, unit directions.

    ``L = ||x - x'||^2 + l1 sum_i ReLU(g_i) + ||x - (ReLU(g) W_dec + b_dec)||^2``, decoder and b_dec held constant in the
    last term, which trains the gate.

    Attributes
    ----------
    l1 : float
        Reached over the first 5% of training.
    """

    l1: float

    def start(self, directions: Tensor, mean: Tensor) -> Parameters:
        p = super().start(directions, mean)
        return p | {"r_mag": torch.zeros_like(p["b_enc"]), "b_mag": torch.zeros_like(p["b_enc"])}

    def loss(self, p: Parameters, x: Tensor, y: Tensor, progress: Progress) -> Step:
        read = self.inputs(p, x) @ p["encoder"].T
        gate = read + p["b_enc"]
        on = gate.detach() > 0
        f = torch.where(on, (p["r_mag"].exp() * read + p["b_mag"]).relu(), 0.0)
        error = (y - self.output(p, x, f @ p["decoder"])).square().sum()
        open_ = gate.relu()
        frozen = p | {"b_dec": p["b_dec"].detach()}
        by_gate = (y - self.output(frozen, x, open_ @ p["decoder"].detach())).square().sum()
        loss = (error + self.l1 * progress.ramp(0.05) * open_.sum() + by_gate) / len(x)
        return Step(loss, error.detach(), (f > 0).sum(0))

    def before_update(self, p: Parameters, progress: Progress) -> None:
        keep_off_radius(p["decoder"])

    def after_update(self, p: Parameters, x: Tensor, y: Tensor, progress: Progress, revive) -> None:
        renormalise(p["decoder"])

    def export(self, p: Parameters) -> dict[str, Any]:
        """As a jump: the gate is open where the magnitude's pre-activation exceeds ``b_mag - e^r b_gate``."""
        size = p["r_mag"].exp()
        return {
            "W_enc": (p["encoder"] * size[:, None]).T.contiguous(), "b_enc": p["b_mag"], "W_dec": p["decoder"],
            "b_dec": p["b_dec"], "activation": "jumprelu", "threshold": p["b_mag"] - size * p["b_enc"],
        }  # fmt: skip


@method(
    question="decompose",
    paper=Paper(
        "Rajamanoharan et al.", 2024, "Improving Dictionary Learning with Gated Sparse Autoencoders",
        "https://arxiv.org/abs/2404.16014",
    ),
    needs=("recording",),
    gives="Basis",
    stochastic=True,
    cost="O(steps * batch * d * latents), seven dense products per update",
    claim="A penalty on the gate alone removes the shrinkage of L1, and reconstructs better at equal sparsity.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That the network uses these directions, or that they are the only dictionary that fits.",
    tiny={"latents": 8, "l1": 1.0, "steps": 300, "batch": 64, "lr": 0.03},
)  # fmt: skip
def gated_sae(
    recording: Any, *, latents: int = 4096, l1: float = 1.0, steps: int = 2000,
    batch: int = 1024, lr: float | None = None, seed: int = 0,
) -> SparseDictionary:  # fmt: skip
    """Fit a sparse autoencoder whose latents are gated apart from their magnitude.

    ``f = 1[(x - b_dec) W + b_gate > 0] ReLU(e^r (x - b_dec) W + b_mag)``, ``x' = f W_dec + b_dec``; minimises
    ``||x - x'||^2 + l1 sum_i ReLU(g_i)`` plus the error of what the gate's own values rebuild. The result is saved as a
    JumpReLU dictionary, which is the same function.

    Parameters
    ----------
    recording : Recording
        One site, ``[rows, d]``.
    latents : int
        Dictionary size.  Default 4096.
    l1 : float
        Weight of the penalty on the gate, against the squared error summed over d of inputs scaled to
        ``E ||x - mean||^2 = d``. Default 1. Paper: swept.
    steps, batch : int
        Updates, and rows per update. Default 2000 of 1024.
    lr : float, optional
        Adam's rate. Default ``2e-4 / sqrt(latents / 2^14)``, at most 5e-3. Paper: 3e-4.
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
    Misleads when latents with tiny magnitudes are counted: the gate, not the magnitude, is what is penalised.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    >>> sae = gated_sae(Recording.of(x, site="hidden"), latents=16, steps=20, batch=32)
    >>> sae.encode(x).shape
    torch.Size([256, 16])

    References
    ----------
    Rajamanoharan et al. (2024). Improving Dictionary Learning with Gated Sparse Autoencoders.
    https://arxiv.org/abs/2404.16014
    """
    if not l1 >= 0:
        raise UsageError(f"l1 must be a number >= 0, got {l1!r}.")
    return train(recording, Gated(l1), latents=latents, steps=steps, batch=batch, lr=lr, seed=seed, name="gated_sae")

"""The p-annealed sparse autoencoder: the penalty moves from L1 towards counting."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from microtome.decompose.dictionary import SparseDictionary
from microtome.decompose.formula import Formula, Parameters, Progress, Step, keep_off_radius, renormalise
from microtome.decompose.train import train
from microtome.errors import UsageError
from microtome.method import Paper, method

#: Steps in which p falls, and a floor under codes, where a power below 1 has no slope.
STAGES, FLOOR = 10, 1e-6


@dataclass(frozen=True)
class PAnnealed(Formula):
    """``L = ||x - x'||^2 + s sum_i f_i^p``, mean over rows; unit directions; p falls from 1 to `end`, and s follows.

    Attributes
    ----------
    l1 : float
        s at p = 1, reached over the first 5% of training.
    end : float
        Last p.
    """

    l1: float
    end: float

    def start(self, directions: Tensor, mean: Tensor) -> Parameters:
        return super().start(directions, mean) | {"strength": directions.new_full((), self.l1)}

    def power(self, progress: Progress) -> float:
        """p: 1 in the first fifth of training, then down in equal stages to `end`, reached at four fifths."""
        share = (progress.step / progress.steps - 0.2) / 0.6
        return 1.0 + (self.end - 1.0) * min(STAGES, max(0, int(share * STAGES) + (share >= 0))) / STAGES

    def codes(self, p: Parameters, x: Tensor) -> Tensor:
        """f."""
        return (self.inputs(p, x) @ p["encoder"].T + p["b_enc"]).relu()

    def loss(self, p: Parameters, x: Tensor, y: Tensor, progress: Progress) -> Step:
        f = self.codes(p, x)
        error = (y - self.output(p, x, f @ p["decoder"])).square().sum()
        penalty = p["strength"].detach() * progress.ramp(0.05) * powers(f, self.power(progress)).sum()
        return Step((error + penalty) / len(x), error.detach(), (f > 0).sum(0))

    def before_update(self, p: Parameters, progress: Progress) -> None:
        keep_off_radius(p["decoder"])

    @torch.no_grad()
    def after_update(self, p: Parameters, x: Tensor, y: Tensor, progress: Progress, revive) -> None:
        """Unit directions; where p falls, s changes so that the penalty of this batch stays what it was."""
        renormalise(p["decoder"])
        new, before = self.power(progress), self.power(replace(progress, step=progress.step - 1))
        if new != before:
            f = self.codes(p, x)
            tiny = torch.finfo(f.dtype).tiny
            p["strength"].mul_(powers(f, before).sum().clamp_min(tiny) / powers(f, new).sum().clamp_min(tiny))

    def export(self, p: Parameters) -> dict[str, Any]:
        return {
            "W_enc": p["encoder"].T.contiguous(), "b_enc": p["b_enc"], "W_dec": p["decoder"], "b_dec": p["b_dec"],
            "activation": "relu",
        }  # fmt: skip


def powers(f: Tensor, power: float) -> Tensor:
    """``f^p`` where f > 0, else 0."""
    return torch.where(f > 0, (f + FLOOR) ** power, 0.0)


@method(
    question="decompose",
    paper=Paper(
        'Karvonen et al.', 2024, "Measuring Progress in Dictionary Learning for Language Model Interpretability "
        "with Board Game Models",
        "https://arxiv.org/abs/2408.00113",
    ),
    needs=("recording",),
    gives="Basis",
    stochastic=True,
    cost="O(steps * batch * d * latents), five dense products per update",
    claim="Lowering p of an L_p penalty during training brings a plain dictionary to the level of gated ones.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That the network uses these directions; and magnitudes are shrunk by the penalty, the less the lower p.",
    tiny={"latents": 8, "l1": 1.0, "steps": 300, "batch": 64, "lr": 0.02},
)  # fmt: skip
def p_annealed_sae(
    recording: Any, *, latents: int = 4096, l1: float = 1.0, end: float = 0.2, steps: int = 2000,
    batch: int = 1024, lr: float | None = None, seed: int = 0,
) -> SparseDictionary:  # fmt: skip
    """Fit a sparse autoencoder whose penalty goes from L1 towards counting active latents.

    ``L = ||x - x'||^2 + s sum_i f_i^p`` with ``f = ReLU((x - b_dec) W_enc + b_enc)``. p falls in ten stages from 1 to `end`;
    at each, s changes so that the penalty of the current batch stays the same.

    Parameters
    ----------
    recording : Recording
        One site, ``[rows, d]``.
    latents : int
        Dictionary size.  Default 4096.
    l1 : float
        s while p is 1, against the squared error summed over d of inputs scaled to ``E ||x - mean||^2 = d``. Default 1.
    end : float
        Last p, in (0, 1]. Default and paper: 0.2.
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
    Misleads when run for few steps: each stage needs time to settle.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    >>> sae = p_annealed_sae(Recording.of(x, site="hidden"), latents=16, steps=20, batch=32)
    >>> sae.encode(x).shape
    torch.Size([256, 16])

    References
    ----------
    Karvonen et al. (2024). Measuring Progress in Dictionary Learning for Language Model Interpretability
    with Board Game Models.
    https://arxiv.org/abs/2408.00113
    """
    if not l1 >= 0 or not 0 < end <= 1:
        raise UsageError(f"l1 must be >= 0 and end in (0, 1], got {l1!r} and {end!r}.")
    return train(
        recording, PAnnealed(l1, end), latents=latents, steps=steps, batch=batch, lr=lr, seed=seed, name="p_annealed_sae"
    )

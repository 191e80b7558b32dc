"""The Matryoshka sparse autoencoder: prefixes of the dictionary must do alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from microtome.decompose.batch_topk_sae import BatchTopK
from microtome.decompose.dictionary import SparseDictionary
from microtome.decompose.formula import Parameters
from microtome.decompose.sparse import Support, sparse_decode
from microtome.decompose.train import train
from microtome.decompose.transcoder import require_k
from microtome.errors import UsageError
from microtome.method import Paper, method


@dataclass(frozen=True)
class Matryoshka(BatchTopK):
    """`BatchTopK` whose error is the mean of the errors of prefixes of the dictionary; AuxK on the whole one's.

    Attributes
    ----------
    prefixes : tuple of int
        Increasing sizes; the last is the whole dictionary.
    """

    prefixes: tuple[int, ...] = ()

    def residuals(self, p: Parameters, x: Tensor, y: Tensor, support: Support, values: Tensor) -> list[Tensor]:
        left, out = y - self.output(p, x, y.new_zeros(())), []
        for low, high in pairwise((0, *self.prefixes)):
            inside = (support.indices >= low) & (support.indices < high)
            before = torch.cat([inside.new_zeros(1, dtype=torch.long), inside.cumsum(0)])  # of this group, before each entry
            part = Support(support.indices[inside], before[support.offsets], support.latents)
            left = left - sparse_decode(part, values[inside], p["decoder"])
            out.append(left)
        return out


@method(
    question="decompose",
    paper=Paper(
        "Bussmann et al.", 2025, "Learning Multi-Level Features with Matryoshka Sparse Autoencoders",
        "https://arxiv.org/abs/2503.17547",
    ),
    needs=("recording",),
    gives="Basis",
    stochastic=True,
    cost="O(steps * batch * d * latents): one dense product per update, the rest O(batch * (k + prefixes) * d)",
    claim="Nested dictionaries keep general features whole where a plain wide dictionary splits and absorbs them.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That the network uses these directions, or that they are the only dictionary that fits.",
    tiny={"latents": 16, "k": 2, "steps": 200, "batch": 64, "lr": 0.03},
)  # fmt: skip
def matryoshka_sae(
    recording: Any, *, latents: int = 4096, k: int = 32, prefixes: Sequence[int] | None = None,
    steps: int = 2000, batch: int = 1024, lr: float | None = None, seed: int = 0,
) -> SparseDictionary:  # fmt: skip
    """Fit nested dictionaries: each prefix of the latents must rebuild the input by itself.

    ``L = mean over prefixes m of ||x - (z[:m] W_dec[:m] + b_dec)||^2 / d`` plus 1/32 of the AuxK loss of the whole; codes
    and threshold as in `batch_topk_sae`.

    Parameters
    ----------
    recording : Recording
        One site, ``[rows, d]``.
    latents : int
        Dictionary size.  Default 4096.
    k : int
        Mean number of active latents per row. Default 32. Paper: 20 to 320.
    prefixes : sequence of int, optional
        Increasing sizes below or up to `latents`. Default 1/16, 1/8, 1/4, 1/2 and all. Paper: 2,048 to 65,536 by doubling.
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
    Misleads when a feature's place in the order is read as its generality: it is also its frequency.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    >>> sae = matryoshka_sae(Recording.of(x, site="hidden"), latents=16, k=2, steps=20, batch=32)
    >>> sae.dim
    16

    References
    ----------
    Bussmann et al. (2025). Learning Multi-Level Features with Matryoshka Sparse Autoencoders.
    https://arxiv.org/abs/2503.17547
    """
    require_k(k, latents)
    sizes = [latents // 16, latents // 8, latents // 4, latents // 2] if prefixes is None else list(prefixes)
    sizes = tuple(sorted({m for m in sizes if m} | {latents}))
    if prefixes is not None and (list(prefixes) != sorted(set(prefixes)) or sizes[0] < 1 or sizes[-1] > latents):
        raise UsageError(f"prefixes must increase within 1..latents ({latents}), got {list(prefixes)}.")
    return train(
        recording, Matryoshka(k, prefixes=sizes), latents=latents, steps=steps, batch=batch, lr=lr, seed=seed,
        name="matryoshka_sae",
    )  # fmt: skip

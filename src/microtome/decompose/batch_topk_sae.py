"""The BatchTopK sparse autoencoder: the sparsity is that of a batch, not of each row."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from microtome.decompose.dictionary import SparseDictionary
from microtome.decompose.formula import Parameters
from microtome.decompose.sparse import Support, pick
from microtome.decompose.topk_sae import TopK
from microtome.decompose.train import train
from microtome.decompose.transcoder import require_k
from microtome.method import Paper, method

#: Candidates per row, in multiples of k, before the whole batch is searched.
CANDIDATES = 4
#: Rate of the running mean of the smallest value kept.
RATE = 0.01


@dataclass(frozen=True)
class BatchTopK(TopK):
    """`TopK` over the batch: the ``k * rows`` largest positive pre-activations are kept.

    The smallest kept value is averaged over training; at inference it is the threshold.
    """

    def start(self, directions: Tensor, mean: Tensor) -> Parameters:
        return super().start(directions, mean) | {"threshold": directions.new_full((), -1.0)}

    def choose(self, p: Parameters, pre: Tensor, centred: Tensor) -> tuple[Support, Tensor]:
        rows, indices, smallest = largest_of_batch(pre, self.k)
        counts = torch.bincount(rows, minlength=len(pre))
        support = Support(indices, counts.cumsum(0) - counts, pre.shape[1])
        with torch.no_grad():
            old = p["threshold"]  # not a parameter: it has no gradient, and Adam leaves it alone
            old.copy_(torch.where(old < 0, smallest, old + RATE * (smallest - old)))
        return support, pick(support, pre, centred, p["encoder"], p["b_enc"])

    def export(self, p: Parameters) -> dict[str, Any]:
        return super().export(p) | {"activation": "batchtopk", "threshold": p["threshold"].clamp_min(0.0)}


def largest_of_batch(pre: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows and latents of the ``k * rows`` largest positive entries, row after row, and the smallest of their values.

    Exact, though it looks at the 4 k largest of each row first: only where all of a row's are kept might it have more.
    """
    rows, latents = pre.shape
    width = min(latents, CANDIDATES * k)
    values, columns = pre.topk(width, dim=-1)
    flat = values.flatten()
    bound = flat.topk(min(k * rows, flat.numel()), sorted=True).values[-1]
    if width < latents and bool((values[:, -1] >= bound).any()):
        values, columns = pre.topk(min(latents, k * rows), dim=-1)
        bound = values.flatten().topk(min(k * rows, values.numel()), sorted=True).values[-1]
    kept = (values >= bound) & (values > 0)
    row, place = kept.nonzero(as_tuple=True)
    smallest = values[row, place].min() if len(row) else pre.new_zeros(())
    return row, columns[row, place], smallest


@method(
    question="decompose",
    paper=Paper(
        "Bussmann et al.", 2024, "BatchTopK Sparse Autoencoders",
        "https://arxiv.org/abs/2412.06410",
    ),
    needs=("recording",),
    gives="Basis",
    stochastic=True,
    cost="O(steps * batch * d * latents): one dense product per update, the rest O(batch * k * d)",
    claim="Letting the number of active latents vary over rows reconstructs better than TopK at equal mean sparsity.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That the network uses these directions, or that they are the only dictionary that fits.",
    tiny={"latents": 16, "k": 2, "steps": 200, "batch": 64, "lr": 0.03},
)  # fmt: skip
def batch_topk_sae(
    recording: Any, *, latents: int = 4096, k: int = 32, steps: int = 2000,
    batch: int = 1024, lr: float | None = None, seed: int = 0,
) -> SparseDictionary:  # fmt: skip
    """Fit a sparse autoencoder that keeps k latents per row on average over each batch.

    The ``k * batch`` largest positive pre-activations of a batch are kept; otherwise as `topk_sae`, AuxK included. At
    inference a latent is active above one threshold, the mean over training of the smallest value kept.

    Parameters
    ----------
    recording : Recording
        One site, ``[rows, d]``.
    latents : int
        Dictionary size.  Default 4096.
    k : int
        Mean number of active latents per row. Paper: 16 to 128. Default 32.
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
    Misleads when the density of a batch is far from that in use: the threshold was set by training batches.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    >>> sae = batch_topk_sae(Recording.of(x, site="hidden"), latents=16, k=2, steps=20, batch=32)
    >>> sae.activation
    'batchtopk'

    References
    ----------
    Bussmann et al. (2024). BatchTopK Sparse Autoencoders.
    https://arxiv.org/abs/2412.06410
    """
    require_k(k, latents)
    return train(recording, BatchTopK(k), latents=latents, steps=steps, batch=batch, lr=lr, seed=seed, name="batch_topk_sae")

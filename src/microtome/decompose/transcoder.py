"""Transcoders that keep the k largest latents: what a site writes, predicted from another site by a sparse code."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from microtome.decompose.ends import Ends, two_ends
from microtome.decompose.formula import Parameters
from microtome.decompose.topk_sae import TopK
from microtome.decompose.train import train
from microtome.decompose.transcoding import Transcoder
from microtome.errors import UsageError
from microtome.method import Paper, method

DUNEFSKY = Paper(
    "Dunefsky et al.", 2024, "Transcoders Find Interpretable LLM Feature Circuits", "https://arxiv.org/abs/2406.11944"
)


@dataclass(frozen=True)
class Skipped(TopK):
    """`TopK` with a linear bypass from what is read to what is rebuilt, which starts at zero."""

    def begin(self, latents: int, ends: Ends, like: Tensor, seed: int) -> Parameters:
        p = super().begin(latents, ends, like, seed)
        return p | {"skip": like.new_zeros(len(ends.source.mean), len(ends.target.mean))}


def require_k(k: int, latents: int) -> None:
    """Refuse a k outside 1..latents."""
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= latents:
        raise UsageError(f"k must lie in 1..latents ({latents}), got {k!r}.")


@method(
    question="decompose",
    paper=DUNEFSKY,
    needs=("recording",),
    gives="Basis",
    stochastic=True,
    cost="O(steps * batch * d * latents): one dense product per update, the rest O(batch * k * d)",
    claim="A wide sparse layer imitates an MLP, so that circuits can be read through it without its dense non-linearity.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That the MLP computes this way: what the transcoder does not explain may hold the mechanism.",
    tiny={"latents": 16, "k": 2, "steps": 300, "batch": 64, "lr": 0.03},
)
def transcoder(
    recording: Any, *, reads: str | None = None, writes: str | None = None, latents: int = 4096, k: int = 32,
    steps: int = 2000, batch: int = 1024, lr: float | None = None, seed: int = 0,
) -> Transcoder:  # fmt: skip
    """Fit a transcoder: a sparse code of one site that predicts another.

    ``z = TopK(ReLU(x W_enc + b_enc))``, ``y' = z W_dec + b_dec``; minimises the share of the variance of y unexplained
    plus 1/32 of the AuxK loss. Directions have norm 1 at the written site.

    Parameters
    ----------
    recording : Recording
        Holds both sites, recorded together.
    reads, writes : str, optional
        E.g. ``blocks.3.mlp.norm`` and ``blocks.3.mlp.out``. Default: the first and the second site of a recording of two.
    latents, k : int
        Dictionary size and active latents per row. Default 4096 and 32. Paper: ReLU with an L1 penalty, see
        `relu_transcoder`; 32 times the width.
    steps, batch : int
        Updates, and rows per update. Default 2000 of 1024.
    lr : float, optional
        Adam's rate. Default ``2e-4 / sqrt(latents / 2^14)``, at most 5e-3.
    seed : int
        Start and order of batches. Default 0.

    Returns
    -------
    Transcoder
        A basis of the site that is read, whose edits are made at the site that is written; `metrics` are about the
        latter.

    Raises
    ------
    UsageError
        When the two sites are not told, or k exceeds latents.
    NonFinite
        When the recording holds NaN or infinity, or training diverges.
    Degenerate
        When the rows do not vary.

    Notes
    -----
    Null: with the rows of one site permuted against the other, FVU is about 1.
    Misleads when FVU is high: the circuit read through the transcoder is then not the network's.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    >>> rec = Recording.of({"mlp.norm": x, "mlp.out": x.relu()})
    >>> t = transcoder(rec, latents=16, k=4, steps=20, batch=32)
    >>> t.site, t.writes, t(x).shape
    ('mlp.norm', 'mlp.out', torch.Size([256, 8]))

    References
    ----------
    Dunefsky et al. (2024). Transcoders Find Interpretable LLM Feature Circuits. https://arxiv.org/abs/2406.11944
    """
    require_k(k, latents)
    reads, writes = two_ends(recording, reads, writes)
    return train(
        recording, TopK(k, centred=False), latents=latents, steps=steps, batch=batch, lr=lr, seed=seed,
        name="transcoder", reads=reads, writes=writes,
    )  # pyright: ignore[reportReturnType]  # fmt: skip

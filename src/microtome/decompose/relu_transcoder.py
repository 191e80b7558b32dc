"""The transcoder of the paper: ReLU codes with an L1 penalty."""

from typing import Any

from microtome.decompose.ends import two_ends
from microtome.decompose.relu_sae import ReLU
from microtome.decompose.train import train
from microtome.decompose.transcoder import DUNEFSKY
from microtome.decompose.transcoding import Transcoder
from microtome.errors import UsageError
from microtome.method import method


@method(
    question="decompose",
    paper=DUNEFSKY,
    needs=("recording",),
    gives="Basis",
    stochastic=True,
    cost="O(steps * batch * d * latents), five dense products per update",
    claim="A wide sparse layer imitates an MLP, so that circuits can be read through it without its dense non-linearity.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That the MLP computes this way; and magnitudes are shrunk by the penalty.",
    tiny={"latents": 8, "l1": 1.0, "steps": 300, "batch": 64, "lr": 0.03},
)
def relu_transcoder(
    recording: Any, *, reads: str | None = None, writes: str | None = None, latents: int = 4096, l1: float = 1.0,
    steps: int = 2000, batch: int = 1024, lr: float | None = None, seed: int = 0,
) -> Transcoder:  # fmt: skip
    """Fit a transcoder with ReLU codes and an L1 penalty.

    ``z = ReLU(x W_enc + b_enc)``, ``y' = z W_dec + b_dec``; minimises ``||y - y'||^2 + l1 sum_i z_i ||W_dec,i||``, both
    sites scaled to ``E ||. - mean||^2 = d``.

    Parameters
    ----------
    recording : Recording
        Holds both sites, recorded together.
    reads, writes : str, optional
        Default: the first and the second site of a recording of two.
    latents : int
        Dictionary size. Paper: 32 times the width. Default 4096.
    l1 : float
        Weight of the penalty. Default 1. Paper: 1.4e-4 on inputs that were not scaled.
    steps, batch : int
        Updates, and rows per update. Default 2000 of 1024.
    lr : float, optional
        Adam's rate. Default ``2e-4 / sqrt(latents / 2^14)``, at most 5e-3. Paper: 4e-4.
    seed : int
        Start, order of batches, restarts of dead latents. Default 0.

    Returns
    -------
    Transcoder
        Unit directions at the written site.

    Raises
    ------
    UsageError
        When the two sites are not told, or l1 is negative.
    NonFinite
        When the recording holds NaN or infinity, or training diverges.
    Degenerate
        When the rows do not vary.

    Notes
    -----
    Null: with the rows of one site permuted against the other, FVU is about 1.
    Misleads when magnitudes matter: the penalty shrinks them (``metrics["shrinkage"]``).

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    >>> relu_transcoder(Recording.of({"a": x, "b": x.relu()}), latents=16, steps=20, batch=32).activation
    'relu'

    References
    ----------
    Dunefsky et al. (2024). Transcoders Find Interpretable LLM Feature Circuits. https://arxiv.org/abs/2406.11944
    """
    if not l1 >= 0:
        raise UsageError(f"l1 must be a number >= 0, got {l1!r}.")
    reads, writes = two_ends(recording, reads, writes)
    return train(
        recording, ReLU(l1, seed, centred=False), latents=latents, steps=steps, batch=batch, lr=lr, seed=seed,
        name="relu_transcoder", reads=reads, writes=writes,
    )  # pyright: ignore[reportReturnType]  # fmt: skip

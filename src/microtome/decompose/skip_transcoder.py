"""The skip transcoder: a sparse code plus a linear bypass."""

from typing import Any

from microtome.decompose.ends import two_ends
from microtome.decompose.train import train
from microtome.decompose.transcoder import Skipped, require_k
from microtome.decompose.transcoding import Transcoder
from microtome.method import Paper, method


@method(
    question="decompose",
    paper=Paper(
        "Paulo et al.", 2025, "Transcoders Beat Sparse Autoencoders for Interpretability",
        "https://arxiv.org/abs/2501.18823",
    ),
    needs=("recording",),
    gives="Basis",
    stochastic=True,
    cost="O(steps * batch * d * latents): one dense product per update, the rest O(batch * (k * d + d * d_out))",
    claim="A linear bypass lowers the error of a transcoder at equal sparsity and leaves its latents as interpretable.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That the bypass is not part of the mechanism: what is linear in the MLP has no latents.",
    tiny={"latents": 16, "k": 2, "steps": 300, "batch": 64, "lr": 0.03},
    skips={"truth": "planted factors act linearly here, and the bypass takes what is linear"},
)  # fmt: skip
def skip_transcoder(
    recording: Any, *, reads: str | None = None, writes: str | None = None, latents: int = 4096, k: int = 32,
    steps: int = 2000, batch: int = 1024, lr: float | None = None, seed: int = 0,
) -> Transcoder:  # fmt: skip
    """Fit a transcoder with a linear bypass around its code.

    ``z = TopK(ReLU(x W_enc + b_enc))``, ``y' = z W_dec + b_dec + x W_skip``; the loss is that of `transcoder`, without a
    penalty on W_skip, which starts at 0.

    Parameters
    ----------
    recording : Recording
        Holds both sites, recorded together.
    reads, writes : str, optional
        Default: the first and the second site of a recording of two.
    latents, k : int
        Dictionary size and active latents per row. Default 4096 and 32, as in the paper's small runs.
    steps, batch : int
        Updates, and rows per update. Default 2000 of 1024.
    lr : float, optional
        Adam's rate. Default ``2e-4 / sqrt(latents / 2^14)``, at most 5e-3.
    seed : int
        Start and order of batches. Default 0.

    Returns
    -------
    Transcoder
        With `W_skip`. Calling it gives y' with the bypass; edits through it change the code's part only.

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
    Misleads when its FVU is compared with that of a code alone: the bypass has d * d_out dense parameters.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    >>> skip_transcoder(Recording.of({"a": x, "b": x.relu()}), latents=16, k=2, steps=20, batch=32).W_skip.shape
    torch.Size([8, 8])

    References
    ----------
    Paulo et al. (2025). Transcoders Beat Sparse Autoencoders for Interpretability. https://arxiv.org/abs/2501.18823
    """
    require_k(k, latents)
    reads, writes = two_ends(recording, reads, writes)
    return train(
        recording, Skipped(k, centred=False), latents=latents, steps=steps, batch=batch, lr=lr, seed=seed,
        name="skip_transcoder", reads=reads, writes=writes,
    )  # pyright: ignore[reportReturnType]  # fmt: skip

"""The crosscoder: one sparse code for several sites at once."""

from collections.abc import Sequence
from math import prod
from typing import Any

from microtome.decompose.relu_sae import ReLU
from microtome.decompose.train import train
from microtome.decompose.transcoding import Crosscoder
from microtome.errors import UsageError
from microtome.method import Paper, method


@method(
    question="decompose",
    paper=Paper(
        "Lindsey et al.", 2024, "Sparse Crosscoders for Cross-Layer Features and Model Diffing",
        "https://transformer-circuits.pub/2024/crosscoders/index.html",
    ),
    needs=("recording",),
    gives="Basis",
    stochastic=True,
    cost="O(steps * batch * latents * sum of widths), five dense products per update",
    claim="Features that persist over layers, or that two models share, are one latent of a joint code.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That a latent with no direction at a site has no counterpart there: the penalty can hide one.",
    tiny={"latents": 8, "l1": 2.0, "steps": 300, "batch": 64, "lr": 0.03},
)  # fmt: skip
def crosscoder(
    recording: Any, *, sites: Sequence[str] | None = None, latents: int = 4096, l1: float = 1.0, steps: int = 2000,
    batch: int = 1024, lr: float | None = None, seed: int = 0,
) -> Crosscoder:  # fmt: skip
    """Fit one sparse code that reads and rebuilds several sites together.

    ``f = ReLU(sum_s x_s W_enc^s + b_enc)``, ``x_s' = f W_dec^s + b_dec^s``; minimises
    ``sum_s ||x_s - x_s'||^2 + l1 sum_i f_i sum_s ||W_dec,i^s||``, each site scaled to ``E ||x_s - mean||^2 = d_s``.

    Parameters
    ----------
    recording : Recording
        Holds the sites, recorded together: layers of one subject, or the same site of two.
    sites : sequence of str, optional
        At least two. Default: all of the recording.
    latents : int
        Dictionary size. Default 4096.
    l1 : float
        Weight of the penalty. Default 1.
    steps, batch : int
        Updates, and rows per update. Default 2000 of 1024.
    lr : float, optional
        Adam's rate. Default ``2e-4 / sqrt(latents / 2^14)``, at most 5e-3.
    seed : int
        Start, order of batches, restarts of dead latents. Default 0.

    Returns
    -------
    Crosscoder
        A basis of the joined site "a+b+..."; `norms()` says where each latent writes, ``at(site)`` is for edits. The
        norms of a latent's directions sum to 1 over the sites in units of their spread.

    Raises
    ------
    UsageError
        With fewer than two sites, or a negative l1.
    NonFinite
        When the recording holds NaN or infinity, or training diverges.
    Degenerate
        When the rows of a site do not vary.

    Notes
    -----
    Null: with the rows of the sites permuted against each other, latents write one site each.
    Misleads when norms are read as presence: L1 makes latents look exclusive to one site (or model) that are not.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    >>> both = crosscoder(Recording.of({"a": x, "b": 2 * x}), latents=16, steps=20, batch=32)
    >>> both.site, both.norms().shape, both.at("b").writes
    ('a+b', torch.Size([16, 2]), 'b')

    References
    ----------
    Lindsey et al. (2024). Sparse Crosscoders for Cross-Layer Features and Model Diffing.
    https://transformer-circuits.pub/2024/crosscoders/index.html
    """
    if not l1 >= 0:
        raise UsageError(f"l1 must be a number >= 0, got {l1!r}.")
    chosen = [str(s) for s in recording.sites] if sites is None else list(sites)
    if len(chosen) < 2:
        raise UsageError(f"a crosscoder needs at least two sites recorded together, got {chosen}.")
    widths = tuple(prod(recording[site].shape[1:]) for site in chosen)
    return train(
        recording, ReLU(l1, seed, widths, centred=False), latents=latents, steps=steps, batch=batch, lr=lr, seed=seed,
        name="crosscoder", reads=chosen,
    )  # pyright: ignore[reportReturnType]  # fmt: skip

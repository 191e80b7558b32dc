"""A random sparse dictionary: the null for sparse autoencoders."""

from typing import Any

import torch

from microtome.decompose.data import precision_of, require_count, survey
from microtome.decompose.dictionary import SparseDictionary
from microtome.decompose.judge import reconstruction
from microtome.method import Paper, method
from microtome.rng import torch_rng


@method(
    question="decompose",
    paper=Paper(
        "Cunningham et al.", 2023, "Sparse Autoencoders Find Highly Interpretable Features in Language Models",
        "https://arxiv.org/abs/2309.08600",
    ),
    needs=("recording",),
    gives="Basis",
    stochastic=True,
    cost="O(latents * d), two streamed passes",
    claim="A random dictionary of the same size and sparsity; what it reaches is what a trained one must exceed.",
    notion="decomposability",
    serves="trust",
    cannot_claim="Anything about the site: it is the null.",
    tiny={"latents": 32, "k": 4},
    skips={"truth": "random directions are the null", "null": "random directions are the null"},
)  # fmt: skip
def random_dictionary(recording: Any, *, latents: int = 4096, k: int = 32, seed: int = 0) -> SparseDictionary:
    """Draw a sparse dictionary of random unit directions (the null for sparse autoencoders).

    ``z = TopK(ReLU((x - m) D^T))``, ``x' = c z D + m`` with the one scalar c that fits best, folded into the encoder.

    Parameters
    ----------
    recording : Recording
        One site.
    latents : int
        Dictionary size. Default 4096.
    k : int
        Active latents per row. Default 32.
    seed : int
        Default 0.

    Returns
    -------
    SparseDictionary
        With `metrics` as a trained one has.

    Raises
    ------
    UsageError
        When k or latents is below 1, or k exceeds latents.
    NonFinite
        When the recording holds NaN or infinity.
    Degenerate
        When the rows do not vary.

    Notes
    -----
    Null: this is one.
    Misleads when latents is so large that random directions lie near the data by number alone.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    >>> random_dictionary(Recording.of(x, site="hidden"), latents=8, k=2).metrics["fvu"] < 1
    True

    References
    ----------
    Cunningham et al. (2023). Sparse Autoencoders Find Highly Interpretable Features in Language Models.
    https://arxiv.org/abs/2309.08600
    """
    found = survey(recording)
    require_count(k, require_count(latents, 2**31, "latents"), "k")
    like = precision_of(recording)
    draw = torch.randn(latents, found.width, generator=torch_rng(seed, "random_dictionary"), dtype=torch.float64)
    rows = (draw / draw.norm(dim=1, keepdim=True)).to(like)
    size, step = 1.0, max(64, min(2048, 2**25 // latents))
    for _ in range(2):
        basis = SparseDictionary(
            found.site, W_enc=size * rows.T, b_enc=rows.new_zeros(latents), W_dec=rows, b_dec=found.mean.to(like),
            activation="topk", k=k, name="random_dictionary", subject=found.subject,
        )  # fmt: skip
        basis.metrics = scores = reconstruction(recording, basis, batch=step)
        if size == 1.0:
            # fvu = 1 - 2 inner + power, both as shares of the variance; the best scalar is inner / power.
            power = scores["fvu"] - 1 + 2 * scores["shrinkage"]
            size = scores["shrinkage"] / power if power > 0 else 1.0
    return basis

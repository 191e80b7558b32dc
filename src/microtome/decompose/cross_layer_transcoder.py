"""Train a cross-layer transcoder: jump gates, squared error at every layer, a saturating penalty on active latents."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from microtome.decompose.cross_layer import CrossLayerTranscoder, write_later
from microtome.decompose.ends import Ends
from microtome.decompose.fitting import random_rows
from microtome.decompose.formula import Formula, Parameters, Progress, Step
from microtome.decompose.jump import jump
from microtome.decompose.train import train
from microtome.errors import UsageError
from microtome.method import Paper, method

#: Start of the thresholds and width of the window in which they learn, in units of a pre-activation's spread.
START, WINDOW = 0.1, 2.0
#: Steepness of the penalty, and weight of the term that pulls silent latents over their threshold.
STEEPNESS, PULL = 4.0, 3e-6


@dataclass(frozen=True)
class CrossLayer(Formula):
    """``sum_m ||y_m - y_m'||^2 + sparsity sum_(l,i) tanh(4 ||W_dec,i^l|| f_i^l)``, mean over rows.

    Attributes
    ----------
    layers : int
    sparsity : float
        Reached linearly over the whole training.
    """

    layers: int
    sparsity: float

    def begin(self, latents: int, ends: Ends, like: Tensor, seed: int) -> Parameters:
        """Random unit encoders, decoders at 0."""
        count, d, d_out = latents // self.layers, ends.widths_in[0], ends.widths_out[0]
        encoder = random_rows(latents, d, seed, "start").to(like).view(self.layers, count, d)
        p = {"encoder": encoder, "b_enc": like.new_zeros(self.layers, count), "b_dec": like.new_zeros(self.layers, d_out)}
        p["log_threshold"] = torch.full_like(p["b_enc"], math.log(START))
        return p | {f"decoder_{l}": like.new_zeros(count, self.layers - l, d_out) for l in range(self.layers)}

    def loss(self, p: Parameters, x: Tensor, y: Tensor, progress: Progress) -> Step:
        inputs, threshold = x.view(len(x), self.layers, -1), p["log_threshold"].exp()
        pre = torch.einsum("bld,lfd->blf", inputs, p["encoder"]) + p["b_enc"]
        f = jump(pre, threshold, WINDOW)
        decoders = [p[f"decoder_{l}"] for l in range(self.layers)]
        error = (y.view(len(y), self.layers, -1) - write_later(f, decoders, p["b_dec"])).square().sum()
        norms = torch.stack([table.flatten(1).norm(dim=1) for table in decoders])
        penalty = (STEEPNESS * f * norms).tanh().sum()
        pull = ((threshold - pre).relu() * norms).sum()
        loss = (error + self.sparsity * progress.ramp(1.0) * penalty + PULL * pull) / len(x)
        return Step(loss, error.detach(), (f > 0).sum(0).flatten())

    def build(self, p: Parameters, ends: Ends, name: str) -> CrossLayerTranscoder:
        s, t = ends.scale_in.to(p["encoder"]), ends.scale_out.to(p["encoder"])
        s, t = s.view(self.layers, -1)[:, :1], t.view(self.layers, -1)[:, :1]  # one scale for each layer
        c = ends.code_scale
        decoders = [p[f"decoder_{l}"] * (c / t[l:]) for l in range(self.layers)]
        W_enc = (p["encoder"] * (s / c)[..., None]).transpose(1, 2)
        x, y = (end.mean.to(W_enc).view(self.layers, -1) for end in (ends.source, ends.target))
        b_enc = p["b_enc"] / c - torch.einsum("ld,ldf->lf", x, W_enc)
        return CrossLayerTranscoder(
            ends.source.site, reads=ends.reads, writes=ends.writes, W_enc=W_enc, b_enc=b_enc, W_dec=decoders,
            b_dec=p["b_dec"] / t + y,
            threshold=p["log_threshold"].exp() / c, name=name, subject=ends.source.subject,
        )  # fmt: skip


@method(
    question="decompose",
    paper=Paper(
        "Ameisen et al.", 2025, "Circuit Tracing: Revealing Computational Graphs in Language Models",
        "https://transformer-circuits.pub/2025/attribution-graphs/methods.html",
    ),
    needs=("recording",),
    gives="Basis",
    stochastic=True,
    cost="O(steps * batch * latents * layers^2 * d)",
    claim="Latents that write all later layers shorten the paths of a circuit: what several layers repeat is one latent.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That the MLPs compute this way: what is not explained may hold the mechanism.",
    tiny={"latents": 16, "sparsity": 0.1, "steps": 100, "batch": 64, "lr": 0.01},
    skips={
        "truth": "codes of several layers have no single direction; the null is checked by FVU in tests/decompose",
        "null": "a layer's latents beat shuffled ones in what they write, not in how their codes correlate with factors",
    },
)  # fmt: skip
def cross_layer_transcoder(
    recording: Any, *, reads: Sequence[str], writes: Sequence[str], latents: int = 4096, sparsity: float = 1.0,
    steps: int = 2000, batch: int = 1024, lr: float | None = None, seed: int = 0,
) -> CrossLayerTranscoder:  # fmt: skip
    """Fit a cross-layer transcoder to the inputs and outputs of successive MLPs.

    ``f_l = JumpReLU(x_l W_enc^l + b_enc^l)``, ``y_m' = sum over l <= m of f_l W_dec^(l -> m) + b_dec^m``; minimises
    ``sum_m ||y_m - y_m'||^2 + sparsity sum_(l,i) tanh(4 ||W_dec,i^l|| f_i^l)``, each site scaled to
    ``E ||. - mean||^2 = d``.

    Parameters
    ----------
    recording : Recording
        Holds all the sites, recorded together.
    reads, writes : sequence of str
        For each layer, in order, e.g. ``blocks.{i}.mlp.norm`` and ``blocks.{i}.mlp.out``; equal widths.
    latents : int
        For each layer. Default 4096.
    sparsity : float
        Weight of the penalty at the end of training. Default 1.
    steps, batch : int
        Updates, and rows per update. Default 2000 of 1024.
    lr : float, optional
        Adam's rate. Default ``2e-4 / sqrt(latents / 2^14)``, at most 5e-3.
    seed : int
        Start and order of batches. Default 0.

    Returns
    -------
    CrossLayerTranscoder
        A basis of the joined sites that are read; ``at(l, m)`` and ``parts(l)`` are for edits.

    Raises
    ------
    UsageError
        When the sites do not pair, or sparsity is negative.
    NonFinite
        When the recording holds NaN or infinity, or training diverges.
    Degenerate
        When the rows of a site do not vary.

    Notes
    -----
    Null: with the rows of the outputs permuted, FVU is about 1.
    Misleads when errors of the layers differ much: `metrics` are about all of them together.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    >>> rec = Recording.of({"x0": x, "y0": x.relu(), "x1": x + x.relu(), "y1": (-x).relu()})
    >>> clt = cross_layer_transcoder(rec, reads=["x0", "x1"], writes=["y0", "y1"], latents=16, steps=20, batch=32)
    >>> clt.dim, clt.at(0, 1).writes
    (32, 'y1')

    References
    ----------
    Ameisen et al. (2025). Circuit Tracing. https://transformer-circuits.pub/2025/attribution-graphs/methods.html
    """
    if not sparsity >= 0:
        raise UsageError(f"sparsity must be a number >= 0, got {sparsity!r}.")
    reads, writes = list(reads), list(writes)
    widths = {kind: {recording[s].shape[-1] for s in sites} for kind, sites in (("read", reads), ("written", writes))}
    if len(reads) != len(writes) or any(len(found) != 1 for found in widths.values()):
        raise UsageError(
            f"each layer needs one site to read and one to write, of equal widths over the layers; got {reads}, {writes} "
            f"of widths {widths}."
        )
    rate = min(5e-3, 2e-4 / math.sqrt(latents / 2**14)) if lr is None else lr
    return train(
        recording, CrossLayer(len(reads), sparsity, centred=False), latents=latents * len(reads), steps=steps,
        batch=batch, lr=rate, seed=seed, name="cross_layer_transcoder", reads=reads, writes=writes,
    )  # pyright: ignore[reportReturnType]  # fmt: skip

"""The contrastive sparse autoencoder: pairs of inputs, half of the latents for what they share, half for what differs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from microtome.decompose.dictionary import SparseDictionary
from microtome.decompose.ends import Feed
from microtome.decompose.fitting import Recipe, random_rows
from microtome.decompose.formula import Formula, Parameters, Progress, Step, keep_off_radius, renormalise
from microtome.decompose.judge import reconstruction
from microtome.decompose.train import fitted
from microtome.errors import ShapeError, UsageError
from microtome.method import Paper, method
from microtome.subject.recording.join import joined

if TYPE_CHECKING:
    from microtome.decompose.ends import Ends


@dataclass(frozen=True)
class Contrastive(Formula):
    """``f = ReLU((x - b_dec) W_enc + b_enc) = [c, e]`` of both inputs of a pair; unit directions; mean over pairs of

    ``||x+ - x+'||^2 + ||x- - x-'||^2 + l1 (|f+|_1 + |f-|_1) + contrast (|c+ - c-|_1 + |e+ * e-|_1)``.

    Attributes
    ----------
    l1, contrast : float
        Both reached over the first 5% of training.
    """

    l1: float
    contrast: float

    def begin(self, latents: int, ends: "Ends", like: Tensor, seed: int) -> Parameters:
        mean = (ends.source.mean * ends.scale_in).to(like).view(2, -1).mean(0)
        return self.start(random_rows(latents, len(mean), seed, "start").to(like), mean)

    def loss(self, p: Parameters, x: Tensor, y: Tensor, progress: Progress) -> Step:
        both = x.view(2 * len(x), -1)  # the two inputs of each pair, one after the other
        f = (self.inputs(p, both) @ p["encoder"].T + p["b_enc"]).relu()
        error = (both - self.output(p, both, f @ p["decoder"])).square().sum()
        codes = f.view(len(x), 2, -1)
        half = codes.shape[2] // 2
        shared, own = codes[..., :half], codes[..., half:]
        apart = (shared[:, 0] - shared[:, 1]).abs().sum() + (own[:, 0] * own[:, 1]).sum()
        ramp = progress.ramp(0.05)
        loss = (error + ramp * (self.l1 * f.sum() + self.contrast * apart)) / len(x)
        return Step(loss, error.detach(), (f > 0).sum(0))

    def before_update(self, p: Parameters, progress: Progress) -> None:
        keep_off_radius(p["decoder"])

    def after_update(self, p: Parameters, x: Tensor, y: Tensor, progress: Progress, revive) -> None:
        renormalise(p["decoder"])

    def build(self, p: Parameters, ends: "Ends", name: str) -> SparseDictionary:
        scale, latents = float(ends.scale_in[0]), len(p["b_enc"])
        half = latents // 2
        return SparseDictionary(
            ends.source.site.partition("+")[0], W_enc=p["encoder"].T, b_enc=p["b_enc"] / scale, W_dec=p["decoder"],
            b_dec=p["b_dec"] / scale, name=name, subject=ends.source.subject,
            names=[f"common.{i}" for i in range(half)] + [f"contrast.{i}" for i in range(latents - half)],
        )  # fmt: skip


@method(
    question="decompose",
    paper=Paper(
        "Poupart", 2024, "Contrastive Sparse Autoencoders for Interpreting Planning of Chess-Playing Agents",
        "https://arxiv.org/abs/2406.04028",
    ),
    needs=("recording",),
    gives="Basis",
    stochastic=True,
    cost="O(steps * batch * d * latents), ten dense products per update",
    claim="Trained on pairs, half of the latents hold what a pair shares, the other half what tells its two sides apart.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="Why the sides differ: anything that tells them apart, however shallow, is a contrast.",
    tiny={"latents": 16, "l1": 1.0, "steps": 300, "batch": 64, "lr": 0.03},
)  # fmt: skip
def csae(
    recording: Any, *, sites: Sequence[str] | None = None, latents: int = 4096, l1: float = 1.0, contrast: float = 1.0,
    steps: int = 2000, batch: int = 1024, lr: float | None = None, seed: int = 0,
) -> SparseDictionary:  # fmt: skip
    """Fit a dictionary to pairs, with common latents that agree over a pair and contrasting ones that exclude each other.

    ``f = [c, e] = ReLU((x - b_dec) W_enc + b_enc)``; minimises the squared error of both sides plus ``l1 |f|_1`` plus
    ``contrast (|c+ - c-|_1 + |e+ * e-|_1)``.

    Parameters
    ----------
    recording : Recording
        Two sites of one width; row i of one is paired with row i of the other (an optimal and a sub-optimal line, a clean
        and a corrupted prompt, two models).
    sites : two names, optional
        Default: the first and the second site.
    latents : int
        The first half is common, the second contrasting. Default 4096.
    l1 : float
        Weight of sparsity, on inputs scaled to ``E ||x - mean||^2 = d``. Default 1. Paper: 0.1, not scaled.
    contrast : float
        Default and paper: 1.
    steps, batch : int
        Updates, and pairs per update. Default 2000 of 1024.
    lr : float, optional
        Adam's rate. Default ``2e-4 / sqrt(latents / 2^14)``, at most 5e-3. Paper: 5e-4.
    seed : int
        Start and order of batches. Default 0.

    Returns
    -------
    SparseDictionary
        Of one side's width, at the first site; `names` tell "common.i" from "contrast.i"; `metrics` over both sides.

    Raises
    ------
    UsageError
        Without two sites, or when a weight is negative.
    ShapeError
        When the two sides differ in width.
    NonFinite
        When the recording holds NaN or infinity, or training diverges.
    Degenerate
        When the rows do not vary.

    Notes
    -----
    Null: with pairs shuffled nothing is common, and common latents die or carry what differs.
    Misleads when the two sides differ in something else than intended (length, position): that is a contrast, too.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    >>> sae = csae(Recording.of({"better": x, "worse": x.flip(1)}), latents=16, steps=20, batch=32)
    >>> sae.names[0], sae.names[8], sae.width
    ('common.0', 'contrast.0', 8)

    References
    ----------
    Poupart (2024). Contrastive Sparse Autoencoders for Interpreting Planning of Chess-Playing Agents.
    https://arxiv.org/abs/2406.04028
    """
    if not l1 >= 0 or not contrast >= 0:
        raise UsageError(f"l1 and contrast must be >= 0, got {l1!r} and {contrast!r}.")
    chosen = [str(s) for s in recording.sites] if sites is None else list(sites)
    if len(chosen) != 2:
        raise UsageError(f"csae takes pairs: two sites recorded together, got {chosen}.")
    pair = [recording[site] for site in chosen]
    if pair[0].shape[1:] != pair[1].shape[1:]:
        raise ShapeError(f"the two sides of a pair need one width, got {pair[0].shape[1:]} and {pair[1].shape[1:]}.")
    feed = Feed(joined(recording, chosen))
    fit = fitted(feed, Recipe(Contrastive(l1, contrast), latents, lr=lr, seed=seed, name="csae"), steps=steps, batch=batch)
    out = fit.dictionary()
    sides = [reconstruction(side, out) for side in pair]
    out.metrics = {key: (sides[0][key] + sides[1][key]) / 2 for key in sides[0]}
    return out

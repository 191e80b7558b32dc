"""The end-to-end sparse autoencoder: what counts is what the rest of the network makes of the reconstruction."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from microtome.decompose.dictionary import SparseDictionary
from microtome.decompose.ends import Feed
from microtome.decompose.fitting import Fit, Recipe
from microtome.decompose.formula import Formula, Parameters, Progress, Step, rows_to_unit
from microtome.engine import progress as progress_bar
from microtome.errors import UsageError
from microtome.method import Paper, method
from microtome.rng import rng
from microtome.subject.hooks import Tap, attached
from microtome.subject.run import logits_of

if TYPE_CHECKING:
    from microtome.subject.inputs import Inputs
    from microtome.subject.subject import Subject


class Rest:
    """The network after a site: how far its predictions move when the site is replaced, differentiably."""

    def __init__(self, subject: "Subject", site: str, scale: float) -> None:
        self.subject, self.site, self.scale = subject, subject.site(site), scale

    def look(self, inputs: "Inputs") -> Tensor:
        """Rows of the site at real positions; remembers the inputs and what the network says of them."""
        run = self.subject.run(inputs, record=[self.site.name])
        self.inputs, self.value = inputs, run[self.site.name]
        self.real = torch.ones(self.value.shape[:2], dtype=torch.bool) if inputs.mask is None else inputs.mask.bool()
        self.clean = run.logits[self.real].log_softmax(-1)
        return self.value[self.real]

    def divergence(self, rows: Tensor) -> Tensor:
        """Sum over positions of ``KL(clean || with the site's rows replaced)``; rows are in units of the scaled site."""
        value = self.value.clone()
        value[self.real] = (rows / self.scale).to(value)
        tap = Tap(self.site, keep=lambda _: value)
        with attached(self.subject.module, [tap], self.inputs.frame_of):
            new = logits_of(self.subject.call(self.inputs, "all"))[self.real].log_softmax(-1)
        return (self.clean.exp() * (self.clean - new)).sum()


@dataclass(frozen=True)
class EndToEnd(Formula):
    """``L = KL(logits, logits with x') + sparsity / d |f|_1``, mean over rows; unit directions in the forward; no error at x.

    Attributes
    ----------
    rest : Rest
    sparsity : float
        Reached over the first 5% of training.
    """

    rest: Any = field(repr=False)
    sparsity: float

    def loss(self, p: Parameters, x: Tensor, y: Tensor, progress: Progress) -> Step:
        f = (self.inputs(p, x) @ p["encoder"].T + p["b_enc"]).relu()
        rebuilt = self.output(p, x, f @ rows_to_unit(p["decoder"]))
        penalty = self.sparsity * progress.ramp(0.05) * f.sum() / x.shape[1]
        loss = (self.rest.divergence(rebuilt) + penalty) / len(x)
        return Step(loss, (y - rebuilt).detach().square().sum(), (f > 0).sum(0))

    def export(self, p: Parameters) -> dict[str, Any]:
        return {
            "W_enc": p["encoder"].T.contiguous(), "b_enc": p["b_enc"], "W_dec": rows_to_unit(p["decoder"]),
            "b_dec": p["b_dec"], "activation": "relu",
        }  # fmt: skip


@method(
    question="decompose",
    paper=Paper(
        "Braun et al.", 2024,
        "Identifying Functionally Important Features with End-to-End Sparse Dictionary Learning",
        "https://arxiv.org/abs/2405.12241",
    ),
    needs=("subject", "tokens", "gradients"),
    gives="Basis",
    stochastic=True,
    cost="two forwards and a backward of the subject per update",
    claim="Trained on the network's output, a dictionary explains more of it with fewer active latents than one trained on x.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That the site looks like the reconstruction: only what the rest of the network makes of it is kept.",
    tiny={"latents": 16, "steps": 20, "batch": 4},
    skips={"truth": "what is rebuilt is what the network needs, and no direction of it is planted", "null": "as for truth"},
)  # fmt: skip
def end_to_end_sae(
    subject: "Subject", inputs: Any, *, site: str, latents: int = 4096, sparsity: float = 1.0, steps: int = 1000,
    batch: int = 16, lr: float | None = None, seed: int = 0,
) -> SparseDictionary:  # fmt: skip
    """Fit a sparse autoencoder so that the network predicts the same from what it rebuilds.

    ``f = ReLU((x - b_dec) W_enc + b_enc)``, ``x' = f W_dec + b_dec``; minimises
    ``KL(logits(x), logits(x')) + sparsity / d |f|_1`` over all positions. There is no term for the error at the site.

    Parameters
    ----------
    subject : Subject
        A model that gives logits at each position.
    inputs : Inputs or texts
        What it is shown.
    site : str
        Where the dictionary lives: one vector per position.
    latents : int
        Dictionary size. Default 4096. Paper: 60 times d.
    sparsity : float
        Weight of the penalty, on inputs scaled to ``E ||x - mean||^2 = d``. Default 1. Paper: swept.
    steps, batch : int
        Updates, and samples per update. Default 1000 of 16.
    lr : float, optional
        Adam's rate. Default ``2e-4 / sqrt(latents / 2^14)``, at most 5e-3. Paper: 5e-4.
    seed : int
        Start and order of samples. Default 0.

    Returns
    -------
    SparseDictionary
        Unit directions; `metrics` are the last point of the `training` curve.

    Raises
    ------
    UsageError
        When sparsity is negative, or the site has no row per position.
    NonFinite
        When training diverges.

    Notes
    -----
    Null: on a network of random weights the divergence is small for any reconstruction; compare with its own start.
    Misleads when FVU is read: it may be far above that of an ordinary autoencoder, by design.

    Examples
    --------
    >>> import microtome as mt
    >>> subject = mt.load("organism:language")
    >>> texts = ["the cat sleeps", "the dogs sleep"]
    >>> end_to_end_sae(subject, texts, site="blocks.2.resid_post", latents=16, steps=2, batch=2).dim
    16

    References
    ----------
    Braun et al. (2024). Identifying Functionally Important Features with End-to-End Sparse Dictionary Learning.
    https://arxiv.org/abs/2405.12241
    """
    if not sparsity >= 0:
        raise UsageError(f"sparsity must be a number >= 0, got {sparsity!r}.")
    data, name = subject.inputs(inputs), subject.site(site).name
    if tuple(subject.site(site).axes[:2]) != ("batch", "position"):
        axes = subject.site(site).axes
        raise UsageError(f"an end-to-end dictionary needs a site with one vector per position; {name} has {axes}.")
    feed = Feed(subject.record(data[: min(len(data), 256)], [name]))
    rest = Rest(subject, name, float(feed.ends.scale_in[0]))
    recipe = Recipe(EndToEnd(rest, sparsity), latents, lr=lr, seed=seed, name="end_to_end_sae")
    like = torch.zeros((), dtype=torch.promote_types(subject.dtype, torch.float32), device=subject.device)
    fit = Fit(recipe, feed.ends, like, steps=steps, batch=batch)
    trained = [p for p in subject.module.parameters() if p.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        with progress_bar(steps, recipe.name) as advance:
            for step in range(steps):
                chosen = rng(seed, "end to end", step).permutation(len(data))[: min(batch, len(data))]
                x = rest.look(data[torch.from_numpy(chosen)])
                fit.update(x, x)
                advance(1)
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
    out = fit.dictionary()
    out.metrics = {key: float(column[-1]) for key, column in out.history.items() if key != "step"}
    return out

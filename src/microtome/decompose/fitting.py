"""One dictionary in training: its parameters, Adam, the schedule, dead latents and the training curve."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from microtome.decompose.dictionary import SparseDictionary
from microtome.decompose.ends import Ends
from microtome.decompose.formula import Formula, Parameters, Progress
from microtome.decompose.spread import gather, world
from microtome.decompose.transcoding import Crosscoder, Transcoder
from microtome.errors import NonFinite, UsageError
from microtome.rng import torch_rng

#: Vectors without firing after which a latent counts as dead (Gao et al. 2024), or a tenth of a shorter training.
DEAD_AFTER_ROWS = 10_000_000
DEAD_AFTER_SHARE = 0.1
POINTS = 100


@dataclass(frozen=True)
class Recipe:
    """What to train: a formula, a size and the sites.

    Attributes
    ----------
    formula : Formula
        The variant.
    latents : int
        Dictionary size.
    reads, writes : str or tuple of str, optional
        Sites that are read and rebuilt. Default: the one site of the data; with `reads` alone, the same sites.
    lr : float, optional
        Adam's rate. Default ``2e-4 / sqrt(latents / 2^14)`` (Gao et al. 2024), at most 5e-3.
    seed : int
        Of the start.
    name : str
        Name of the basis.
    """

    formula: Formula
    latents: int
    reads: Any = None
    writes: Any = None
    lr: float | None = None
    seed: int = 0
    name: str = "dictionary"

    @property
    def rate(self) -> float:
        """Adam's rate."""
        return min(5e-3, 2e-4 / math.sqrt(self.latents / 2**14)) if self.lr is None else self.lr


class Fit:
    """A recipe on its way to a dictionary.

    Parameters
    ----------
    recipe : Recipe
    ends : Ends
        Moments of what is read and rebuilt.
    like : Tensor
        Device and precision to compute in.
    steps, batch : int
        Updates in all, rows per update.
    mixed : bool
        Products in bfloat16 (CUDA); parameters and optimiser keep their precision.
    """

    def __init__(self, recipe: Recipe, ends: Ends, like: Tensor, *, steps: int, batch: int, mixed: bool = False) -> None:
        for label, value in {"latents": recipe.latents, "steps": steps, "batch": batch}.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UsageError(f"{label} must be a whole number >= 1, got {value!r}.")
        self.recipe, self.ends, self.formula, self.mixed = recipe, ends, recipe.formula, mixed
        self.scale_in, self.scale_out = _scale(ends.scale_in, like), _scale(ends.scale_out, like)
        self.like, centre = like, not recipe.formula.centred
        self.mean_in, self.mean_out = (end.mean.to(like) if centre else 0.0 for end in (ends.source, ends.target))
        start = recipe.formula.begin(recipe.latents, ends, like, recipe.seed)
        self.p = {name: value.detach().clone().requires_grad_() for name, value in start.items()}
        fused = like.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.Adam(list(self.p.values()), lr=recipe.rate, eps=6.25e-10, fused=fused)
        self.progress = Progress(
            steps=steps,
            silent=torch.zeros(recipe.latents, dtype=torch.long, device=like.device),
            dead_after=max(1, min(DEAD_AFTER_ROWS // batch, int(DEAD_AFTER_SHARE * steps))),
        )
        self.curve = Curve(steps)

    def update(self, x: Tensor, y: Tensor) -> bool:
        """One step of Adam on rows as they were recorded; whether the curve has a new point."""
        like, progress, formula, p = (
            self.p["decoder" if "decoder" in self.p else "encoder"],
            self.progress,
            self.formula,
            self.p,
        )
        x, y = self.scaled(x.to(like), None if x is y else y.to(like))
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate * schedule(progress.step, progress.steps)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(like.device.type, torch.bfloat16, enabled=self.mixed):
            step = formula.loss(p, x, y, progress)
        step.loss.backward()
        step = gather(p, step)
        formula.before_update(p, progress)
        self.optimizer.step()
        progress.update(step.fired)

        def revive(rows: dict[str, Tensor], latents: Tensor) -> None:
            overwrite(p, self.optimizer, rows, latents)
            progress.silent[latents] = 0

        formula.after_update(p, x, y, progress, revive)
        return self.curve.add(step, len(y) * world()[1], y.shape[1], progress)

    def scaled(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """Rows as the formula sees them; y None: the same rows."""
        x = (x - self.mean_in if isinstance(self.mean_in, Tensor) else x) * self.scale_in
        if y is None:
            return x, x
        return x, (y - self.mean_out if isinstance(self.mean_out, Tensor) else y) * self.scale_out

    def dictionary(self) -> SparseDictionary:
        """What has been reached, with the scales folded in and without figures over the data."""
        out = self.formula.build({name: value.detach() for name, value in self.p.items()}, self.ends, self.recipe.name)
        out.history = {name: list(column) for name, column in self.curve.columns.items()}
        return out


def build(parts: dict[str, Any], ends: Ends, name: str) -> SparseDictionary:
    """The dictionary for given ends from arguments in the units of the scaled data."""
    about = {"name": name, "subject": ends.source.subject}
    if ends.auto and len(ends.reads) == 1:
        return SparseDictionary(ends.source.site, **ends.fold(parts), **about)
    parts = ends.uncentre(ends.fold(parts))
    if ends.auto:
        return Crosscoder(ends.source.site, sites=ends.reads, widths=ends.widths_in, **parts, **about)
    if len(ends.writes) != 1:
        raise UsageError(f"a transcoder writes one site, not {list(ends.writes)}; see cross_layer_transcoder.")
    return Transcoder(ends.source.site, writes=str(*ends.writes), reads=ends.reads, widths=ends.widths_in, **parts, **about)


def schedule(step: int, steps: int) -> float:
    """Factor on the learning rate: linear over the first 5%, constant, linear to 0 over the last 20%."""
    return min(1.0, (step + 1) / max(1.0, 0.05 * steps), (steps - step) / max(1.0, 0.2 * steps))


@torch.no_grad()
def overwrite(p: Parameters, optimizer: torch.optim.Optimizer, rows: dict[str, Tensor], latents: Tensor) -> None:
    """Give `latents` new rows in the named parameters and forget Adam's moments there."""
    for name, values in rows.items():
        p[name][latents] = values.to(p[name])
        for moment in ("exp_avg", "exp_avg_sq"):
            if moment in optimizer.state[p[name]]:
                optimizer.state[p[name]][moment][latents] = 0.0


def _scale(scale: Tensor, like: Tensor) -> Tensor | float:
    """One number where all units have the same."""
    return float(scale[0]) if bool((scale == scale[0]).all()) else scale.to(like)


def random_rows(rows: int, width: int, seed: int, use: str) -> Tensor:
    """Random unit rows in float64."""
    draw = torch.randn(rows, width, generator=torch_rng(seed, "decompose", use), dtype=torch.float64)
    return draw / draw.norm(dim=1, keepdim=True)


class Curve:
    """The training curve, averaged between its points so that no step waits for a number."""

    def __init__(self, steps: int) -> None:
        self.every = max(1, steps // POINTS)
        self.columns: dict[str, list] = {"step": [], "loss": [], "fvu": [], "l0": [], "dead": []}
        self.sums: list[Tensor] = []

    def add(self, step: Any, rows: int, d: int, progress: Progress) -> bool:
        """Count one update on rows of width d; whether it made a point."""
        self.sums.append(torch.stack([step.loss.detach(), step.error / (rows * d), step.fired.sum() / rows]))
        if progress.step % self.every and progress.step != progress.steps:
            return False
        loss, fvu, l0 = torch.stack(self.sums).mean(0).tolist()
        if not math.isfinite(loss):
            raise NonFinite(f"the loss became {loss} at update {progress.step}; use a lower learning rate (lr).")
        dead = float((progress.silent >= progress.dead_after).double().mean())
        for column, value in zip(self.columns, (progress.step, loss, fvu, l0, dead)):
            self.columns[column].append(value)
        self.sums = []
        return True

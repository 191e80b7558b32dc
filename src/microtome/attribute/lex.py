"""LEX: the latent variable as explanation."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from microtome.attribute.ends import counted
from microtome.attribute.fillings import filler
from microtome.attribute.masks import players_of
from microtome.attribute.place import input_site
from microtome.attribute.selector import RANDOM, Fills, Odds, Selector, classes_of
from microtome.attribute.subsets import drawn, relaxed
from microtome.errors import Degenerate, NonFinite, ShapeError, UsageError
from microtome.method import Paper, method
from microtome.rng import rng, torch_rng

#: Masks per example and step (L), examples per step, share of examples held out, temperature at first and at last.
MASKS, BATCH, HELD, HOT, COLD = 4, 32, 0.2, 1.0, 0.3
#: Step lengths of the selector and of the predictor; length of a gradient at most.
RATES, CLIP = (3e-3, 2e-3), 1.0
PREDICTORS = ("joint", "masked", "fixed")


@method(
    question="attribute",
    paper=Paper("Senetaire, Garreau, Frellsen, Mattei", 2023, "Explainability as statistical inference",
                "https://arxiv.org/abs/2212.03131"),
    needs=("subject", "task", "gradients"),
    gives="Selector: maps of any input, and the Finding that what is selected is enough",
    stochastic=True,
    cost="`steps` forwards and backwards of 128 * `draws` filled inputs",
    claim="A selector learned by maximum likelihood with several imputations points at what the label depends on.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="That cells that are not selected are not used: others may say the same again.",
    tiny={"steps": 60, "draws": 2},
    skips={"batch": "a selector is fitted to all examples; its maps have rows, the result has none"},
)  # fmt: skip
def lex(
    subject: Any,
    task: Any,
    *,
    budget: float = 0.3,
    features: int | Tensor = 1,
    baseline: str | float | Tensor = "matched",
    draws: int = 5,
    predictor: str = "joint",
    pretrain: int = 300,
    steps: int = 400,
    seed: int = 0,
) -> Selector:
    """Learn which few cells of each input to show so that the label can be said, as a latent variable with a likelihood.

    ``p(y|x) = E_{z ~ p_g(.|x)} E_{x~ ~ p_i(.|x_z)} p_t(y|x~)`` with z a subset of fixed size; maximised is
    ``mean log (1/LK) sum_l sum_k p_t(y|x~_lk)`` over the selector g and the predictor t, through relaxed subsets.

    Parameters
    ----------
    subject : Subject
        The predictor: its classes are the task's answers. Left as it is; a copy is trained.
    task : Task
        Inputs [n, cells] or [n, channels, *places] with their labels as answers. A fifth is held out.
    budget : float, default 0.3
        Share of the players that is shown.
    features : int or LongTensor, default 1
        Side of the squares (or positions) per player, or the player of each place. Inputs without places have one per cell.
    baseline : "matched", "others", "zero", "mean", number or Tensor
        What absent cells are filled with: cells of another example, drawn anew each time (multiple imputation) from those that
        agree with what is shown ("matched") or from all, or a constant. Default "matched".
    draws : int, default 5
        Fillings per mask (K).
    predictor : {"joint", "masked", "fixed"}
        "joint": trained on random masks, then together with the selector (LEX in situ; with a constant baseline, L2X).
        "masked": on random masks only (REAL-X). "fixed": not at all, and labels are the subject's own answers (post hoc).
        Default "joint".
    pretrain : int, default 300
        Steps of the predictor on random masks.
    steps : int, default 400
        Steps of the selector, at falling temperature.
    seed : int, default 0

    Returns
    -------
    Selector
        ``attribution(inputs, labels)``, ``probabilities(x)``, ``masks(x)``, ``predict(x)``, ``finding()``.

    Raises
    ------
    UsageError, ShapeError
    Degenerate
        With fewer than two labels, or a budget that shows nothing or everything.
    NonFinite

    Notes
    -----
    Null: random masks of the same size, on held-out examples. With shuffled labels selections are arbitrary.
    Misleads when absent cells have one constant value: the shape of the mask can then tell the label, and selections encode it
    rather than show it. Try to foretell the label from the masks alone.

    Examples
    --------
    >>> from microtome.testing.worlds.lex import world
    >>> planted = world(0)
    >>> found = lex(planted.subject, planted.task, budget=0.25, draws=2, steps=80)
    >>> shown = found.probabilities(planted.task.clean).mean(0)
    >>> sorted(shown.topk(2).indices.tolist()) == sorted(planted.columns), found.finding().verdict
    (True, 'supported')

    References
    ----------
    Senetaire, Garreau, Frellsen, Mattei (2023). Explainability as statistical inference. https://arxiv.org/abs/2212.03131
    """
    for name, value, least in (("draws", draws, 1), ("pretrain", pretrain, 0), ("steps", steps, 1)):
        counted(name, value, least)
    if not 0 < budget < 1:
        raise UsageError(f"budget must be between 0 and 1, got {budget!r}.")
    if predictor not in PREDICTORS:
        raise UsageError(f"predictor must be one of {PREDICTORS}, got {predictor!r}.")
    bound = subject.bind(task)
    x, labels = bound.inputs.main, bound.answers.to(subject.device)
    if not x.is_floating_point():
        raise ShapeError(f"cells of {x.dtype} cannot be mixed; give rows or pictures in floats.")
    if predictor == "fixed":
        labels = subject.run(bound.inputs).logits.argmax(-1)
    if len(labels.unique()) < 2:
        raise Degenerate(f"all {len(labels)} labels are {int(labels[0])}: nothing is to be said.")
    places = list(x.shape[2:]) or [x.shape[1]]
    players, whole = players_of(features, places, list(x.shape[1:]), "the input")
    players = players if whole or x.ndim == 2 else players[None]
    count = int(players.max()) + 1
    size = round(budget * count)
    if not 0 < size < count:
        raise Degenerate(f"a budget of {budget} shows {size} of {count} players: choose another, or smaller features.")
    order = rng(seed, "lex rows").permutation(len(x))
    cut = max(1, round(HELD * len(x)))
    held, used = (torch.from_numpy(part).to(x.device) for part in (order[:cut], order[cut:]))
    fills = filler(baseline, x[used])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng(seed, "lex odds").integers(2**31)))
        network = Odds(tuple(x.shape[1:]), players).to(x)
    reads = copy.deepcopy(subject.module).eval()
    fit = Fit(network, reads, players.to(x.device), size, fills, x[used], labels[used], seed)
    if predictor != "fixed":
        fit.pretrain(pretrain)
    curve = fit.select(steps, draws, joint=predictor == "joint")
    network.eval()
    for module in (network, reads):
        module.zero_grad(set_to_none=True)
    settings = {"budget": budget, "features": features if isinstance(features, int) else "given",
                "baseline": baseline if isinstance(baseline, (str, float, int)) else "given", "draws": draws,
                "predictor": predictor, "pretrain": pretrain, "steps": steps, "seed": seed}  # fmt: skip
    site = input_site(subject)
    about = {"site": site, "subject": subject.fingerprint(), "data": task.fingerprint(), "task": task.name,
             "shape": tuple(x.shape[1:]), "settings": settings}  # fmt: skip
    axes = subject.site(site).axes_of(x)
    found = Selector(network, reads, players.to(x.device), size, fills, draws, np.zeros(1), np.zeros(1), curve, axes, about)
    at, target = x[held], labels[held]
    right = found.predict(at, seed=seed).gather(1, target[:, None])[:, 0]
    by_chance = [found.predict(at, drawn(at.new_zeros(len(at), count), size, torch_rng(seed, "random masks", i)), seed=seed)
                 .gather(1, target[:, None]).mean() for i in range(RANDOM)]  # fmt: skip
    return Selector(network, reads, players.to(x.device), size, fills, draws, right.double().cpu().numpy(),
                    torch.stack(by_chance).double().cpu().numpy(), curve, axes, about)  # fmt: skip


@dataclass(frozen=True)
class Fit:
    """The climb of the likelihood."""

    network: nn.Module
    reads: nn.Module
    players: Tensor
    size: int
    fills: Fills
    x: Tensor
    labels: Tensor
    seed: int

    def pretrain(self, steps: int) -> None:
        """Train the predictor on inputs of which a random subset is shown."""
        count = int(self.players.max()) + 1
        optimiser = torch.optim.Adam(self.reads.parameters(), lr=RATES[1])
        generator = torch_rng(self.seed, "lex pretrain")
        with torch.enable_grad():
            for rows in self._batches(steps, "pretrain", 2 * BATCH):
                x, masks = self.x[rows], drawn(self.x.new_zeros(len(rows), count), self.size, generator)
                logits = classes_of(self.reads, self.fills(x, self.cells(masks, x), generator))
                self._step(nn.functional.cross_entropy(logits, self.labels[rows]), [(optimiser, self.reads)])

    def select(self, steps: int, draws: int, *, joint: bool) -> Tensor:
        """Train the selector, and the predictor with it; the log-likelihood at each step."""
        flags = [p.requires_grad for p in self.reads.parameters()]
        for p in self.reads.parameters():
            p.requires_grad_(joint)
        moved = [(torch.optim.Adam(self.network.parameters(), lr=RATES[0]), self.network)]
        if joint:
            moved.append((torch.optim.Adam(self.reads.parameters(), lr=RATES[1] / 4), self.reads))
        generator = torch_rng(self.seed, "lex select")
        curve = []
        with torch.enable_grad():
            for step, rows in enumerate(self._batches(steps, "select", BATCH)):
                share = step / max(1, steps - 1)
                x = self.x[rows]
                odds = self.network(x).repeat(MASKS, 1)
                masks = relaxed(odds, self.size, HOT * (COLD / HOT) ** share, generator)
                many = x.repeat(MASKS * draws, *[1] * (x.ndim - 1))
                kept = self.cells(masks.repeat(draws, 1), many)
                logs = classes_of(self.reads, self.fills(many, kept, generator)).log_softmax(-1)
                said = logs.gather(1, self.labels[rows].repeat(MASKS * draws)[:, None]).view(MASKS * draws, len(rows))
                likelihood = said.logsumexp(0).mean() - float(np.log(MASKS * draws))
                self._step(-likelihood, moved)
                curve.append(likelihood.detach())
        for p, flag in zip(self.reads.parameters(), flags, strict=True):
            p.requires_grad_(flag)
        return torch.stack(curve).cpu()

    def cells(self, masks: Tensor, x: Tensor) -> Tensor:
        """Masks [m, players] as cells [m, ...]."""
        return masks[:, self.players.flatten()].reshape(len(masks), *self.players.shape).expand(x.shape)

    def _batches(self, steps: int, name: str, size: int) -> Iterator[Tensor]:
        generator = torch_rng(self.seed, "lex batches", name)
        for _ in range(steps):
            yield torch.randint(len(self.x), (size,), generator=generator).to(self.x.device)

    def _step(self, loss: Tensor, moved: list[tuple[torch.optim.Optimizer, nn.Module]]) -> None:
        if not bool(torch.isfinite(loss)):
            raise NonFinite("the likelihood is not a number: look at the weights and the inputs of the subject.")
        for optimiser, _ in moved:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        for optimiser, module in moved:
            nn.utils.clip_grad_norm_(module.parameters(), CLIP)
            optimiser.step()

"""Selector: a network that says which few cells of each input are enough for the label, with the predictor that reads them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from microtome.attribute.attribution import Attribution
from microtome.attribute.subsets import drawn, inclusion
from microtome.errors import ShapeError
from microtome.evidence import Finding, Null, Provenance, bootstrap
from microtome.rng import torch_rng
from microtome.subject.run import logits_of, one_row

#: Inputs [m, ...], kept cells [m, ...] (1 kept, 0 absent), generator -> inputs with absent cells filled in.
Fills = Callable[[Tensor, Tensor, torch.Generator], Tensor]
#: Random masks of the same size that are judged, for the null.
RANDOM = 19
#: Odds stay between minus and plus this: no player is ever certain, so that selections go on being tried.
BOUND = 1.5


@dataclass(frozen=True, eq=False)
class Selector:
    """Probabilities of cells of being shown, and a predictor of inputs of which only those are shown.

    Attributes
    ----------
    network : nn.Module
        Inputs -> odds [n, players].
    predictor : nn.Module
        The network that reads what is shown; its own copy where it was trained.
    players : LongTensor
        Player of each cell, broadcastable to an input without its batch axis.
    size : int
        Players shown of each input.
    fills : callable
        What absent cells are filled with.
    draws : int
        Fillings over which predictions are averaged.
    right, random : ndarray
        Probability of the label through the selection for each held-out example; mean of it with random masks, per draw.
    curve : Tensor[steps]
        Log-likelihood on the way.
    axes : tuple of str
    about : dict
        Site, fingerprints, settings.
    """

    network: nn.Module
    predictor: nn.Module
    players: Tensor
    size: int
    fills: Fills
    draws: int
    right: np.ndarray
    random: np.ndarray
    curve: Tensor
    axes: tuple[str, ...]
    about: dict[str, Any]

    @property
    def count(self) -> int:
        """How many players there are."""
        return int(self.players.max()) + 1

    @torch.no_grad()
    def probabilities(self, x: Tensor) -> Tensor:
        """Probability of each player of being shown [n, players]; rows add up to `size`."""
        return inclusion(self._odds(x), self.size, self.about["settings"]["seed"])

    @torch.no_grad()
    def masks(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """One random selection for each input [n, players], 0 or 1."""
        return drawn(self._odds(x), self.size, torch_rng(seed, "selector masks"))

    @torch.no_grad()
    def predict(self, x: Tensor, masks: Tensor | None = None, *, seed: int = 0) -> Tensor:
        """Probabilities of classes [n, classes] from what is shown (`masks`, default one draw), averaged over fillings."""
        chosen: Tensor = self.masks(x, seed=seed) if masks is None else masks
        generator = torch_rng(seed, "selector fillings")
        kept = chosen[:, self.players.flatten()].reshape(len(x), *self.players.shape).expand(x.shape)
        parts = [classes_of(self.predictor, self.fills(x, kept, generator)).softmax(-1) for _ in range(self.draws)]
        return torch.stack(parts).mean(0)

    def attribution(self, inputs: Any, labels: Tensor) -> Attribution:
        """Probabilities of being shown as a map of each input; the output is the log-probability of its label."""
        x = getattr(inputs, "inputs", inputs)
        values = self.probabilities(x)[:, self.players.flatten()].reshape(len(x), *self.players.shape)
        values = values.expand(x.shape[0], *self.players.shape).clone().cpu()
        wide = [i for i, size in enumerate(values.shape) if i == 0 or size == x.shape[i]]
        said = self.predict(x).clamp(min=1e-30).log().gather(1, labels[:, None].to(x.device))[:, 0].cpu()
        return Attribution(
            values.reshape([values.shape[i] for i in wide]), tuple(self.axes[i] for i in wide), self.about["site"], "lex", said,
            None, self.draws + 1, subject=self.about["subject"], data=self.about["data"], settings=self.about["settings"],
        )  # fmt: skip

    def finding(self, *, alpha: float = 0.05) -> Finding:
        """That what is selected says more of the label than as many cells drawn at random, on held-out examples."""
        found = bootstrap(self.right, seed=self.about["settings"]["seed"])
        return Finding(
            f"{self.size} of {self.count} players say the label of '{self.about['task']}'", estimate=found,
            nulls=(Null("random masks of the same size", self.random, found.value),), alpha=alpha,
            controls={"random masks": float(self.random.mean()), "share shown": self.size / self.count},
            provenance=Provenance(subject=self.about["subject"], data=self.about["data"], seed=self.about["settings"]["seed"]),
        )  # fmt: skip

    def _odds(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != tuple(self.about["shape"]):
            raise ShapeError(f"the selector was fitted to inputs {list(self.about['shape'])}, got {list(x.shape[1:])}.")
        return self.network(x)

    def __repr__(self) -> str:
        return (f"Selector({self.size} of {self.count} players of '{self.about['task']}': label with probability "
                f"{self.right.mean():.2f} on held-out examples, {self.random.mean():.2f} with random masks)")  # fmt: skip


class Odds(nn.Module):
    """A small network from inputs to odds of players: what stands at a player's place and what stands elsewhere.

    Where there are two axes of places: convolutions, means over the cells of each player, and on these a layer of its own and a
    dense one over all players. Else a dense network.
    """

    def __init__(self, shape: tuple[int, ...], players: Tensor, width: int = 16) -> None:
        super().__init__()
        self.spatial = len(shape) == 3 and players.shape[0] == 1
        count = int(players.max()) + 1
        if not self.spatial:
            cells = int(np.prod(shape))
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(cells, 4 * width), nn.ReLU(), nn.Linear(4 * width, count))
            return
        self.body = nn.Sequential(
            nn.Conv2d(shape[0], width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Flatten(2)
        )
        self.here, self.elsewhere = nn.Linear(width, 1), nn.Linear(width * count, count)
        member = nn.functional.one_hot(players.flatten(), count).float()
        self.register_buffer("member", member / member.sum(0))

    def forward(self, x: Tensor) -> Tensor:
        """Odds [n, players]."""
        found = self.body(x)
        if self.spatial:
            found = (found @ self.get_buffer("member")).mT
            found = self.here(found)[..., 0] + self.elsewhere(found.flatten(1))
        return BOUND * torch.tanh(found / BOUND)


def classes_of(module: nn.Module, x: Tensor) -> Tensor:
    """Logits [n, classes] of a module."""
    return one_row(logits_of(module(x)))

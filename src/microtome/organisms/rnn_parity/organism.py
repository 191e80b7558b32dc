"""Running parity: an LSTM with 12 units, taught on growing lengths, right far beyond them."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from microtome.organisms import shelf
from microtome.organisms.fit import fit, seeded
from microtome.organisms.recurrent import Recurrent, empty, make
from microtome.rng import derive
from microtome.stimuli.algorithmic.bits import parity, running
from microtome.stimuli.stimuli import Stimuli

NAME = "rnn-parity"
CONFIG: dict[str, Any] = {
    "model_type": "microtome_recurrent", "cell": "lstm", "inputs": 1, "hidden": 12, "outputs": 2,
}  # fmt: skip


@dataclass(frozen=True)
class AutomatonTruth:
    """The finite automaton that the network must be."""

    states: tuple[str, ...]
    """Names of the states; logit i of the output stands for state i."""
    start: int
    """State before the first symbol."""
    step: tuple[tuple[int, ...], ...]
    """step[state][symbol] = next state."""

    def run(self, symbols: Tensor) -> Tensor:
        """The state after each symbol, LongTensor [n, time]."""
        table = torch.tensor(self.step, device=symbols.device)
        state = torch.full((len(symbols),), self.start, device=symbols.device)
        path = []
        for column in symbols.long().unbind(1):
            state = table[state, column]
            path.append(state)
        return torch.stack(path, dim=1)


def build() -> tuple[Recurrent, None, AutomatonTruth]:
    """The trained network, no tokenizer, and its automaton."""
    module = shelf.fill(NAME, empty(shelf.config(NAME)))
    return module, None, AutomatonTruth(("even", "odd"), 0, ((0, 1), (1, 0)))  # type: ignore[return-value]


def examples(n: int, seed: int = 0) -> Stimuli:
    """Bit sequences."""
    return parity(n, seed)


def train(seed: int = 0) -> tuple[Recurrent, dict[str, Any], dict[str, float]]:
    """Train from scratch: (module, configuration, figures)."""
    module = seeded(lambda: make(CONFIG), seed, NAME)

    def loss(step: int) -> Tensor:
        inputs = parity(64, derive(seed, "train", step), length=min(24, 2 + step // 60)).inputs
        return F.cross_entropy(module(inputs).flatten(0, 1), running(inputs).flatten())

    fit(module, loss, 2000, lr=1e-2, weight_decay=0.0, betas=(0.9, 0.99))
    figures = {}
    for name, length in (("accuracy", 24), ("accuracy_at_200", 200)):
        inputs = parity(512, derive(seed, "test"), length=length).inputs
        with torch.no_grad():
            figures[name] = float((module(inputs).argmax(-1) == running(inputs)).float().mean())
    return module, CONFIG, figures

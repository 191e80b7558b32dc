"""Three-bit flip-flop: a GRU with 24 units."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from microtome.organisms import shelf
from microtome.organisms.fit import fit, seeded
from microtome.organisms.recurrent import Recurrent, empty, make
from microtome.rng import derive
from microtome.stimuli.algorithmic.flipflop import flip_flop, states
from microtome.stimuli.stimuli import Stimuli

NAME = "rnn-flipflop"
BITS = 3
CONFIG: dict[str, Any] = {
    "model_type": "microtome_recurrent", "cell": "gru", "inputs": BITS, "hidden": 24, "outputs": BITS,
}  # fmt: skip


@dataclass(frozen=True)
class FlipFlopTruth:
    """The memory that the network must be."""

    bits: int
    """Independent channels."""
    memories: tuple[tuple[int, ...], ...]
    """The 2^bits states, each a tuple of -1 and +1: without pulses the network must rest near one fixed point for each."""

    def states(self, inputs: Tensor) -> Tensor:
        """The state after each step [n, time, bits] of pulses [n, time, bits]."""
        return states(inputs)


def build() -> tuple[Recurrent, None, FlipFlopTruth]:
    """The trained network, no tokenizer, and its memories."""
    module = shelf.fill(NAME, empty(shelf.config(NAME)))
    return module, None, FlipFlopTruth(BITS, tuple(product((-1, 1), repeat=BITS)))  # type: ignore[return-value]


def examples(n: int, seed: int = 0) -> Stimuli:
    """Trains of pulses."""
    return flip_flop(n, seed, bits=BITS)


def train(seed: int = 0) -> tuple[Recurrent, dict[str, Any], dict[str, float]]:
    """Train from scratch: (module, configuration, figures)."""
    module = seeded(lambda: make(CONFIG), seed, NAME)

    def loss(step: int) -> Tensor:
        inputs = flip_flop(64, derive(seed, "train", step), bits=BITS).inputs
        return F.mse_loss(module(inputs), states(inputs))

    fit(module, loss, 1500, lr=1e-2, weight_decay=0.0, betas=(0.9, 0.99))
    inputs = examples(512, derive(seed, "test")).inputs
    with torch.no_grad():
        hits = module(inputs).sign() == states(inputs)
        error = F.mse_loss(module(inputs), states(inputs))
    return module, CONFIG, {"accuracy": float(hits.float().mean()), "mse": float(error)}

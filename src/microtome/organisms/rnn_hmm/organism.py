"""Next-token prediction on a hidden Markov model: a GRU with 32 units whose loss meets the exact predictor's."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from microtome.organisms import shelf
from microtome.organisms.fit import fit, seeded
from microtome.organisms.recurrent import Recurrent, empty, make
from microtome.rng import derive
from microtome.stimuli.algorithmic.hmm import HiddenMarkov, emissions, mess3
from microtome.stimuli.stimuli import Stimuli

NAME = "rnn-hmm"
CONFIG: dict[str, Any] = {
    "model_type": "microtome_recurrent", "cell": "gru", "inputs": 8, "hidden": 32, "outputs": 3, "tokens": 3,
}  # fmt: skip


@dataclass(frozen=True)
class BeliefTruth:
    """The process behind the tokens, and what the best predictor must know."""

    model: HiddenMarkov
    """Its joint matrices."""

    def beliefs(self, tokens: Tensor) -> Tensor:
        """P(state | tokens so far) after each token, float [n, time, states]: the belief that hidden states encode."""
        return torch.from_numpy(self.model.beliefs(tokens.numpy()).astype(np.float32))

    def predictive(self, tokens: Tensor) -> Tensor:
        """P(next token | tokens so far), float [n, time, tokens]: the best output there is."""
        return torch.from_numpy(self.model.predictive(tokens.numpy()).astype(np.float32))


def build() -> tuple[Recurrent, None, BeliefTruth]:
    """The trained network, no tokenizer, and the source."""
    return shelf.fill(NAME, empty(shelf.config(NAME))), None, BeliefTruth(mess3())  # type: ignore[return-value]


def examples(n: int, seed: int = 0) -> Stimuli:
    """Token sequences."""
    return emissions(n, seed)


def train(seed: int = 0) -> tuple[Recurrent, dict[str, Any], dict[str, float]]:
    """Train from scratch: (module, configuration, figures in nats per token)."""
    module = seeded(lambda: make(CONFIG), seed, NAME)

    def loss(step: int) -> Tensor:
        tokens = emissions(128, derive(seed, "train", step)).inputs
        return F.cross_entropy(module(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())

    fit(module, loss, 2000, lr=5e-3, weight_decay=0.0, betas=(0.9, 0.99))
    tokens = examples(2048, derive(seed, "test")).inputs
    best = BeliefTruth(mess3()).predictive(tokens)
    with torch.no_grad():
        guess = module(tokens).log_softmax(-1)
    entropy = -(best * best.log()).sum(-1).mean()
    # The exact predictor's excess over itself is 0: the divergence has no sampling noise of the tokens in it.
    excess = (best * (best.log() - guess)).sum(-1).mean()
    return module, CONFIG, {"entropy": float(entropy), "excess": float(excess)}

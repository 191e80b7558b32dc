"""The recurrent module that the rnn organisms share."""

from typing import Any

import torch
from torch import Tensor, nn

from microtome.errors import UsageError

CELLS = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}


class Recurrent(nn.Module):
    """`rnn` (a torch GRU, LSTM or RNN, batch first), then `readout` (linear) at every step.

    Inputs are float [n, time, inputs], or token ids [n, time] where `tokens` is set: then `embed` comes first.
    Output [n, time, outputs].
    """

    def __init__(self, cell: str, inputs: int, hidden: int, outputs: int, tokens: int = 0):
        super().__init__()
        if cell not in CELLS:
            raise UsageError(f"no recurrent cell {cell!r}; known: {', '.join(CELLS)}.")
        self.embed = nn.Embedding(tokens, inputs) if tokens else None
        self.rnn = CELLS[cell](inputs, hidden, batch_first=True)
        self.readout = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.embed is None else self.embed(x)
        return self.readout(self.rnn(x)[0])


def make(config: dict[str, Any]) -> Recurrent:
    """The module of a configuration (its keys other than `model_type` are the arguments)."""
    return Recurrent(**{key: value for key, value in config.items() if key != "model_type"})


def empty(config: dict[str, Any]) -> Recurrent:
    """As `make`, without values: for weights that are about to be loaded."""
    with torch.device("meta"):
        module = make(config)
    return module.to_empty(device="cpu").eval()

"""The recurrent module that the rnn organisms share."""

from typing import Any

import torch
from torch import Tensor, nn

from microtome.errors import UsageError, nearest

CELLS = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}


class Recurrent(nn.Module):
    """`rnn` (a torch GRU, LSTM or RNN, batch first), then `readout` (linear) at every step.

    Input float [n, time, inputs]; output [n, time, outputs].
    """

    def __init__(self, cell: str, inputs: int, hidden: int, outputs: int):
        super().__init__()
        if cell not in CELLS:
            raise UsageError(f"no recurrent cell {cell!r}; known: {', '.join(CELLS)}.{nearest(cell, CELLS)}")
        self.rnn = CELLS[cell](inputs, hidden, batch_first=True)
        self.readout = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.rnn(x)[0])


class TokenRecurrent(Recurrent):
    """As `Recurrent`, on token ids [n, time]: `embed` comes first."""

    def __init__(self, cell: str, inputs: int, hidden: int, outputs: int, tokens: int):
        super().__init__(cell, inputs, hidden, outputs)
        self.embed = nn.Embedding(tokens, inputs)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.readout(self.rnn(self.embed(input_ids))[0])


def make(config: dict[str, Any]) -> Recurrent:
    """The module of a configuration (its keys other than `model_type` are the arguments)."""
    sizes = {key: value for key, value in config.items() if key != "model_type"}
    return TokenRecurrent(**sizes) if "tokens" in sizes else Recurrent(**sizes)


def empty(config: dict[str, Any]) -> Recurrent:
    """As `make`, without values: for weights that are about to be loaded."""
    with torch.device("meta"):
        module = make(config)
    return module.to_empty(device="cpu").eval()

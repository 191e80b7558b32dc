"""Worlds of `onion_representations`: states that are onions by construction, and a decoder that peels them."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.decompose.onion import Decode
from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.method import Method
from microtome.rng import torch_rng
from microtome.subject.recording import Recording
from microtome.testing.case import Refusal, World

ROWS, LENGTH, WORDS, WIDTH, RATIO = 240, 3, 5, 8, 0.35


def tiny(method: Method, seed: int) -> World:
    """``h = sum_j r^j E[x_j]``."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """States that have nothing to do with the tokens."""
    return _world(seed, False)


def planted_onion(seed: int, *, structured: bool = True) -> tuple[Recording, np.ndarray, Decode]:
    """States, tokens, and a decoder that reads the outermost layer and takes off what it is told it was."""
    g = torch_rng(seed, "planted onion")
    embed = 2 * torch.nn.functional.normalize(torch.randn(WORDS, WIDTH, generator=g), dim=1)
    tokens = torch.randint(0, WORDS, (ROWS, LENGTH), generator=g)
    scales = RATIO ** torch.arange(LENGTH)
    shown = tokens if structured else torch.randint(0, WORDS, (ROWS, LENGTH), generator=g)
    states = (scales[:, None] * embed[shown]).sum(1)

    def decode(x: Tensor, given: Tensor) -> Tensor:
        table, size = embed.to(x), scales.to(x)
        layers = size[:, None] * table[given]
        rest = x[:, None] - torch.cat([torch.zeros_like(layers[:, :1]), layers[:, :-1].cumsum(1)], 1)
        return -10 * (rest[:, :, None] / size[:, None, None] - table).square().sum(-1)

    return Recording.of(states, site="state"), tokens.numpy(), decode


def _world(seed: int, structured: bool) -> World:
    recording, tokens, decode = planted_onion(seed, structured=structured)
    return World({"recording": recording, "tokens": tokens, "decode": decode})


def truth(method: Method, result: Any, world: World) -> float:
    """Share of exchanges that the onion gets right, where the finding is supported."""
    return result.estimate.value if result.verdict == "supported" else 0.0


def refusals(method: Method) -> list[Refusal]:
    """Tokens, decoders and sizes that do not fit."""
    recording, tokens, decode = planted_onion(0)
    x = recording.matrix()
    return [
        Refusal("tokens of other sequences", {"tokens": tokens[1:]}, ShapeError, "row per state"),
        Refusal("one token only", {"tokens": 0 * tokens}, Degenerate, "two tokens"),
        Refusal("a decoder of one step", {"decode": lambda h, t: decode(h, t)[:, 0]}, ShapeError, "logits"),
        Refusal("no steps", {"steps": 0}, UsageError, "steps"),
        Refusal("two sites in one recording", {"recording": Recording.of({"a": x, "b": x})}, UsageError, "site"),
        Refusal("a negative seed", {"seed": -1}, UsageError, "seed"),
    ]


def strangers(method: Method) -> list[Refusal]:
    """States of another width than the decoder's are refused where they are decoded: the decoder is the user's own."""
    return []

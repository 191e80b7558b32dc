"""Which of many words occur together: binary features whose correlations come from a hidden place, and bags of real tokens."""

import math

import torch
from torch import Tensor

from microtome.errors import UsageError
from microtome.rng import torch_rng
from microtome.stimuli.stimuli import Stimuli

SHAPES = ("circle", "eight", "sphere", "independent")


def placed_features(n: int, seed: int = 0, *, features: int = 12, shape: str = "circle") -> Stimuli:
    """Draw binary features that are likely near a hidden place: ``P(x_i = 1) = sigmoid(5 w_i . place - 2)``.

    Parameters
    ----------
    n : samples.
    seed : random stream.
    features : features; feature i stands at place w_i.
    shape : "circle", "eight" (a figure of eight), "sphere", or "independent": the circle's features, each permuted over the
        samples, so that densities stay and correlations go.

    Returns
    -------
    Stimuli of kind "vector": inputs float32 [n, features] of 0 and 1.

    Raises
    ------
    UsageError
        Sizes below 1 or an unknown shape.

    Notes
    -----
    Null: shape="independent".
    Misleads when n is small: correlations of rare features are then chance.

    Examples
    --------
    >>> placed_features(4, features=6).inputs.shape
    torch.Size([4, 6])
    """
    if n < 1 or features < 1 or shape not in SHAPES:
        raise UsageError(f"placed_features needs n, features >= 1 and a shape of {SHAPES}; got {n}, {features}, {shape!r}.")
    g = torch_rng(seed, "placed features")
    curve = "circle" if shape == "independent" else shape
    chance = torch.sigmoid(5 * _places(curve, n, g) @ _stations(curve, features).T - 2)
    x = (torch.rand(n, features, generator=g) < chance).float()
    if shape == "independent":
        x = torch.stack([column[torch.randperm(n, generator=g)] for column in x.T], 1)
    return Stimuli(x, kind="vector", name=f"placed-features-{shape}")


def _stations(shape: str, count: int) -> Tensor:
    """Where the features stand [count, 2 or 3], evenly."""
    if shape == "sphere":
        i = torch.arange(count) + 0.5
        polar, turn = torch.acos(1 - 2 * i / count), math.pi * (1 + 5**0.5) * i
        return torch.stack([polar.sin() * turn.cos(), polar.sin() * turn.sin(), polar.cos()], 1)
    return _curve(shape, torch.arange(count) * 2 * math.pi / count)


def _places(shape: str, n: int, g: torch.Generator) -> Tensor:
    if shape == "sphere":
        return torch.nn.functional.normalize(torch.randn(n, 3, generator=g), dim=1)
    return _curve(shape, torch.rand(n, generator=g) * 2 * math.pi)


def _curve(shape: str, angle: Tensor) -> Tensor:
    return torch.stack([angle.cos(), angle.sin() if shape == "circle" else (2 * angle).sin()], 1)


def bags(ids: Tensor, words: int, *, window: int = 32) -> Tensor:
    """Which of `words` token ids occur in each stretch of `window` tokens: float32 [stretches, words] of 0 and 1.

    >>> bags(torch.tensor([0, 2, 2, 1]), 3, window=2).tolist()
    [[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]
    """
    if window < 1 or ids.ndim != 1 or len(ids) < window:
        raise UsageError(f"bags needs one row of at least `window` ids, got shape {tuple(ids.shape)}, window {window}.")
    parts = ids[: len(ids) // window * window].view(-1, window)
    return torch.zeros(len(parts), words).scatter(1, parts, 1.0)

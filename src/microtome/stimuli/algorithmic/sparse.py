"""Sparse feature vectors: each feature is off with a fixed probability, else uniform; optionally mixed by a dictionary."""

import numpy as np
import torch
from torch import Tensor

from microtome.errors import ShapeError, UsageError
from microtome.rng import rng, torch_rng
from microtome.stimuli.stimuli import Stimuli


def sparse_features(n: int, seed: int = 0, *, features: int = 32, density: float = 0.05) -> Stimuli:
    """Draw x_i = 0 with probability 1 - density, else uniform in [0, 1], all independent.

    Parameters
    ----------
    n : samples.
    seed : random stream.
    features : features per sample.
    density : probability that a feature is active, in (0, 1]; the paper's sparsity is 1 - density.

    Returns
    -------
    Stimuli of kind "vector": inputs float32 [n, features]; masks "feature:i" bool [n], where feature i is active.

    Raises
    ------
    UsageError
        Sizes below 1 or a density outside (0, 1].

    Notes
    -----
    Null: features are independent, so no rotation of them is sparser than the given axes.
    Misleads when n * density is small: a feature that is hardly ever active cannot be found.

    Examples
    --------
    >>> s = sparse_features(1000, features=4, density=0.25)
    >>> bool(((s.inputs > 0).float().mean(0) - 0.25).abs().max() < 0.06)
    True

    References
    ----------
    Elhage et al. (2022), "Toy Models of Superposition", transformer-circuits.pub.
    """
    if n < 1 or features < 1 or not 0.0 < density <= 1.0:
        raise UsageError(
            f"sparse_features needs n, features >= 1 and density in (0, 1]; got {n}, {features}, {density}."
        )
    inputs = draw(n, features, density, seed)
    masks = {f"feature:{i}": inputs[:, i] > 0 for i in range(features)}
    return Stimuli(inputs, masks=masks, kind="vector", name="sparse-features")


def draw(n: int, features: int, density: float, seed: int, *names: str | int) -> Tensor:
    """The inputs of `sparse_features` alone [n, features], for training; `names` tell streams of one seed apart."""
    generator = torch_rng(seed, "sparse_features", *names)
    value = torch.rand(n, features, generator=generator)
    active = torch.rand(n, features, generator=generator) < density
    # 1 - u lies in (0, 1]: an active feature is never exactly zero.
    return (1.0 - value) * active


def dictionary(features: int, width: int, seed: int = 0) -> Tensor:
    """Unit directions [features, width], uniform on the sphere.

    >>> bool((dictionary(5, 3).norm(dim=1) - 1).abs().max() < 1e-6)
    True
    """
    rows = rng(seed, "dictionary").standard_normal((features, width)).astype(np.float32)
    return torch.from_numpy(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def mixed(stimuli: Stimuli, directions: Tensor) -> Stimuli:
    """The same samples seen through a dictionary: inputs x @ directions [n, width]; the masks stay the truth.

    >>> mixed(sparse_features(3, features=5), dictionary(5, 2)).inputs.shape
    torch.Size([3, 2])
    """
    if stimuli.inputs.shape[1] != len(directions):
        raise ShapeError(f"{stimuli.inputs.shape[1]} features but {len(directions)} directions.")
    return Stimuli(
        stimuli.inputs @ directions, stimuli.table, None, stimuli.masks, "vector", f"{stimuli.name}-mixed"
    )

"""Semi-non-negative factors of activations, fitted until a stated share of the squared norm is left."""

import sys
import types
from functools import cache

import numpy as np
import torch
from harness.work import Work
from torch import Tensor


@cache
def activations(rows: int, d: int, k: int) -> Tensor:
    """Non-negative combinations of k signed directions, with noise: the loss has a floor that all sides can near."""
    draw = np.random.default_rng(0)
    codes = draw.exponential(size=(rows, k)) * (draw.random((rows, k)) < 0.15)
    x = codes @ draw.standard_normal((k, d)) / d**0.5 + 0.1 * draw.standard_normal((rows, d))
    return torch.from_numpy(x.astype(np.float32))


def first_codes(rows: int, k: int) -> Tensor:
    """The same positive start for every side."""
    return torch.from_numpy(np.random.default_rng(1).random((rows, k), dtype=np.float32)) + 1e-3


def left_over(x: Tensor, z: Tensor, h: Tensor) -> float:
    """``||X - Z H||^2 / ||X||^2``."""
    return float((x - z @ h).square().sum() / x.square().sum())


def _settings(settings: dict) -> tuple[Tensor, Tensor, float]:
    rows, k = settings["rows"], settings["components"]
    return activations(rows, settings["d"], k), first_codes(rows, k), settings["left"]


def _work(call, settings: dict) -> Work:
    """Outputs are whether the loss was reached: factors are not unique, equal loss is what is asked."""
    return Work(call, lambda left: {"reached": np.array([float(left <= settings["left"] * 1.001)])})


def microtome_projected(settings: dict) -> Work:
    """`semi_nmf`'s update."""
    from microtome.decompose.semi_factors import projected

    return _ours(settings, projected)


def microtome_multiplicative(settings: dict) -> Work:
    """`snmf`'s update, without sparsity."""
    from microtome.decompose.semi_factors import multiplicative

    return _ours(settings, multiplicative)


def _ours(settings: dict, update) -> Work:
    from microtome.decompose.semi_factors import BLOCK, factorise
    from microtome.subject.recording import Recording

    x, z, left = _settings(settings)
    recording, whole = Recording.of(x, site="hidden"), float(x.double().square().sum())

    def call() -> float:
        # Stops at the first step whose loss is low enough.
        found = factorise(recording, list(z.split(BLOCK)), update, steps=settings["steps"], enough=left * whole)
        return found.loss / whole

    return _work(call, settings)


def overcomplete(settings: dict) -> Work:
    """`SemiNMF`'s multiplicative step, from the same start; the loss is looked at every ten steps."""
    stand_in_for_vision()
    from overcomplete.optimization.semi_nmf import snmf_multiplicative_update

    x, start, left = _settings(settings)

    def call() -> float:
        z, d, reached = start, torch.linalg.lstsq(start, x).solution, 1.0
        for _ in range(settings["steps"] // 10):
            z, d = snmf_multiplicative_update(x, z, d, max_iter=10, tol=0)
            reached = left_over(x, z, d)
            if reached <= left:
                break
        return reached

    return _work(call, settings)


def stand_in_for_vision() -> None:
    """Empty modules where overcomplete imports libraries for vision models that are not used here."""
    for name in ("torchvision", "timm", "cv2"):
        try:
            __import__(name)
        except ImportError:
            _stand_in(name)


def _stand_in(name: str) -> None:
    """An empty module, so that the package can be imported without its vision models."""

    class Anything(types.ModuleType):
        def __getattr__(self, item: str):
            if item.startswith("__"):
                raise AttributeError(item)
            return Anything(f"{self.__name__}.{item}")

    sys.modules[name] = Anything(name)
    for part in ("transforms", "models", "data"):
        sys.modules[f"{name}.{part}"] = Anything(f"{name}.{part}")

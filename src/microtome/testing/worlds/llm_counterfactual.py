"""Worlds of `llm_counterfactual`: a classifier by adjectives and a stub that knows them; or one that learned nothing."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.method import Method
from microtome.rng import rng
from microtome.stimuli.reviews import NEGATIVE, POSITIVE, reviews
from microtome.testing.case import Refusal, World
from microtome.testing.stub_model import StubModel


def tone(texts: Sequence[str]) -> np.ndarray:
    """Probabilities by the number of positive and negative adjectives."""
    score = [sum((w in POSITIVE) - (w in NEGATIVE) for w in t.split()) for t in texts]
    p = 1 / (1 + np.exp(-2.0 * np.array(score, dtype=float)))
    return np.stack([1 - p, p], axis=1)


def nothing(seed: int) -> Callable[[Sequence[str]], np.ndarray]:
    """A classifier with drawn weights for all words."""

    def predict(texts: Sequence[str]) -> np.ndarray:
        score = [sum(float(rng(seed, "word", w).standard_normal()) for w in t.split()) for t in texts]
        p = 1 / (1 + np.exp(-np.array(score)))
        return np.stack([1 - p, p], axis=1)

    return predict


def tiny(method: Method, seed: int) -> World:
    """The adjectives decide."""
    return World({"predict": tone, "texts": reviews(12, seed)[0], "complete": StubModel(malformed=0.1, seed=seed)})


def null(method: Method, seed: int) -> World:
    """Drawn weights decide."""
    return World({"predict": nothing(seed), "texts": reviews(12, seed)[0], "complete": StubModel(malformed=0.1, seed=seed)})


def truth(method: Method, result: Any, world: World) -> float:
    """Flip rate."""
    return float(result.estimate.value)


def refusals(method: Method) -> list[Refusal]:
    """No texts, wrong sizes, a model that never answers, probabilities of other classes."""
    return [
        Refusal("two texts", {"texts": ["a b", "c d"]}, Degenerate, "three texts"),
        Refusal("no budget", {"budget": 0.0}, UsageError, "budget"),
        Refusal("no draws", {"draws": 0}, UsageError, "draws"),
        Refusal("a model that never answers", {"complete": lambda prompt: "no"}, Degenerate, "format"),
        Refusal("labels that do not fit", {"labels": ("a", "b", "c")}, ShapeError, "probabilities"),
        Refusal("a negative seed", {"seed": -1}, UsageError, "seed"),
    ]

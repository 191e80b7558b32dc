"""Worlds of `verify_statements`: true statements about a classifier by adjectives; the same about one that learned nothing."""

from typing import Any

import numpy as np

from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.method import Method
from microtome.stimuli.reviews import NEGATIVE, POSITIVE, TOPICS, reviews
from microtome.testing.case import Refusal, World
from microtome.testing.worlds.llm_counterfactual import nothing, tone

TRUE = [f"mentions of {w} raise positive" for w in POSITIVE[:3]] + [f"Mentions of '{w}' lower positive." for w in NEGATIVE[:3]]
FALSE = [f"mentions of {w} raise {c}" for w, c in zip(TOPICS[:4], ("positive", "negative") * 2)]


def tiny(method: Method, seed: int) -> World:
    """The adjectives decide."""
    return World({"predict": tone, "texts": reviews(12, seed)[0], "statements": TRUE + FALSE}, {}, {"draws": 19})


def null(method: Method, seed: int) -> World:
    """Drawn weights decide."""
    return World({"predict": nothing(seed), "texts": reviews(12, seed)[0], "statements": TRUE + FALSE}, {}, {"draws": 19})


def truth(method: Method, result: Any, world: World) -> float:
    """Share of statements that are judged as they are."""
    right = ["supported"] * len(TRUE) + ["refuted"] * len(FALSE)
    return float(np.mean([a == b for a, b in zip(result.table["verdict"], right)]))


def refusals(method: Method) -> list[Refusal]:
    """No texts, nothing to read, sizes out of range."""
    return [
        Refusal("two texts", {"texts": ["a b", "c d"]}, Degenerate, "three texts"),
        Refusal("nothing readable", {"statements": ["The classifier is fair."]}, Degenerate, "mentions of"),
        Refusal("an effect below 0", {"least": -1.0}, UsageError, "least"),
        Refusal("labels that do not fit", {"labels": ("positive", "b", "c")}, ShapeError, "probabilities"),
        Refusal("a negative seed", {"seed": -1}, UsageError, "seed"),
    ]

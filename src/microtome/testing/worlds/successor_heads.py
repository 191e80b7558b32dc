"""Worlds of `successor_heads`: the planted head copies eight keys, so with ``step=0`` it maps each key to itself."""

from typing import Any

from microtome.errors import MicrotomeError, UsageError
from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.families.networks import causal_rows, network_refusals
from microtome.testing.families.tables import ranked
from microtome.testing.planted_network import KEYS, planted_network


def tiny(method: Method, seed: int) -> World:
    """The planted network and its keys as a list."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """The same list on freshly drawn weights."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    planted = planted_network(seed, structured=structured)
    return World({"subject": planted.subject, "sequences": {"keys": tuple(range(KEYS))}}, {"planted": planted})


def truth(method: Method, result: Any, world: World) -> float:
    """AUROC of the scores for the planted head, less where it is right on less than all tokens."""
    return ranked(result.table, causal_rows(result.table, world.truth["planted"])) * result.estimate.value


def refusals(method: Method) -> list[Refusal]:
    """Lists that are none, and a place after which no head comes."""
    return [
        *network_refusals(method),
        Refusal("a list of two tokens", {"sequences": {"keys": (0, 1)}}, UsageError, "at least 3"),
        Refusal("a token twice", {"sequences": {"keys": (0, 1, 1, 2)}}, UsageError, "different"),
        Refusal("a token outside the vocabulary", {"sequences": {"keys": (0, 1, 99)}}, UsageError, "vocabulary"),
        Refusal("no lists", {"sequences": {}}, UsageError, "names"),
        Refusal("no heads after the site", {"through": "blocks.1.resid_post"}, UsageError, "earlier site"),
        Refusal("a misspelt site", {"through": "blocks.0.mlp.outt"}, MicrotomeError, "blocks"),
        Refusal("no draws", {"draws": 0}, UsageError, "draws"),
    ]

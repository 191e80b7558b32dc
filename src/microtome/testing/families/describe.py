"""Methods that say it in words: a unit that fires on one word must be described by that word."""

from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.families.labelled import label_refusals, labelled_world

#: Held-out score (correlation, AUROC or accuracy) of the description of a planted unit.
PLANTED = 0.8


def tiny(method: Method, seed: int) -> World:
    """A unit of the planted factor: it fires on the word "noun" and is silent on "verb"."""
    world = labelled_world(seed)
    unit = int(world.truth["planted"].directions[0].argmax())
    return World({**world.given, "unit": unit, "units": [unit]}, world.truth)


def null(method: Method, seed: int) -> World:
    """Units that have nothing to do with the words."""
    world = labelled_world(seed, structured=False)
    unit = int(world.truth["planted"].directions[0].argmax())
    return World({**world.given, "unit": unit, "units": [unit]}, world.truth)


def truth(method: Method, result, world: World) -> float:
    """The description's own held-out score."""
    first = result[0] if isinstance(result, (list, tuple)) else result
    score = next(getattr(first, n) for n in ("score", "heldout", "estimate") if getattr(first, n, None) is not None)
    return float(getattr(score, "value", score))


def refusals(method: Method) -> list[Refusal]:
    """Wrong labels and seeds."""
    return label_refusals(method)

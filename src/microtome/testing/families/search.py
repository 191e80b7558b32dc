"""Methods that find units: those of the planted factor must score above all others."""

import re

import numpy as np

from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.families.labelled import label_refusals, labelled_world
from microtome.testing.families.tables import ranked, scores_of, table_of
from microtome.testing.planted import WIDTH
from microtome.testing.report import Failed
from microtome.testing.worlds import own_world

#: What the units of the planted factor must reach, see `truth`.
PLANTED = 0.9


def tiny(method: Method, seed: int) -> World:
    """A property that is one of six factors; eight units carry it."""
    if own := own_world(method):
        return own.tiny(method, seed)
    return labelled_world(seed)


def null(method: Method, seed: int) -> World:
    """Units that have nothing to do with the property."""
    if own := own_world(method):
        return own.null(method, seed)
    return labelled_world(seed, structured=False)


def truth(method: Method, result, world: World) -> float:
    """Of a table of all units: AUROC of their scores for the planted ones. Of a list of those found: how well they tell.

    A found unit counts ``2 |auroc - 1/2|`` when it is planted, and nothing when it is not.
    """
    if own := own_world(method):
        return own.truth(method, result, world)
    table = table_of(result)
    planted = world.truth["planted"].directions[0][units_of(table)] > 0
    if len(table) >= WIDTH:
        return ranked(table, planted, signed=True)
    return float((planted * 2 * np.abs(scores_of(table) - 0.5)).mean())


def units_of(table) -> np.ndarray:
    """Unit numbers of the rows: the column "unit" (numbers, or names such as ``x[3]``) or "index"."""
    for name in ("unit", "index"):
        if name in table.columns:
            return np.array([int(re.findall(r"\d+", str(u))[-1]) for u in table[name]])
    raise Failed(f"no column 'unit' among {list(table.columns)}")


def refusals(method: Method) -> list[Refusal]:
    """Wrong labels and seeds."""
    if own := own_world(method):
        return own.refusals(method)
    return label_refusals(method)

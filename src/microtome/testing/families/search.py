"""Methods that find units: those of the planted factor must score above all others."""

import re

import numpy as np

from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.families.labelled import label_refusals, labelled_world
from microtome.testing.families.tables import ranked, table_of
from microtome.testing.report import Failed

#: AUROC of the units' scores for the units of the planted factor.
PLANTED = 0.9


def tiny(method: Method, seed: int) -> World:
    """A property that is one of six factors; eight units carry it."""
    return labelled_world(seed)


def null(method: Method, seed: int) -> World:
    """Units that have nothing to do with the property."""
    return labelled_world(seed, structured=False)


def truth(method: Method, result, world: World) -> float:
    """AUROC of the units' scores for the planted units."""
    table = table_of(result)
    return ranked(table, world.truth["planted"].directions[0][units_of(table)] > 0, signed=True)


def units_of(table) -> np.ndarray:
    """Unit numbers of the rows: the column "unit" (numbers, or names such as ``x[3]``) or "index"."""
    for name in ("unit", "index"):
        if name in table.columns:
            return np.array([int(re.findall(r"\d+", str(u))[-1]) for u in table[name]])
    raise Failed(f"no column 'unit' among {list(table.columns)}")


def refusals(method: Method) -> list[Refusal]:
    """Wrong labels and seeds."""
    return label_refusals(method)

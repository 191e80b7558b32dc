"""Scores of result tables against planted truth: does the score column rank what was planted first?"""

import numpy as np

from microtome.testing.planted import auroc
from microtome.testing.report import Failed

#: Names under which a table may keep its score, the first that is there counts.
SCORES = ("score", "effect", "attribution", "value", "auroc", "importance", "weight")


def table_of(result):
    """The result's tidy table (an attribute, or a method without arguments)."""
    table = getattr(result, "table", None)
    table = table() if callable(table) else table
    if table is None or not len(table):
        raise Failed(f"the {type(result).__name__} has no table with rows")
    return table


def scores_of(table) -> np.ndarray:
    """The score column of a table."""
    for name in SCORES:
        if name in table.columns:
            return table[name].to_numpy(dtype=float)
    raise Failed(f"no score column among {list(table.columns)}; one of {', '.join(SCORES)} is expected")


def ranked(table, planted: np.ndarray, *, signed: bool = False) -> float:
    """AUROC of the (absolute) scores for the planted rows: 1 when all of them stand above all others, 0.5 by chance."""
    if planted.all() or not planted.any():
        raise Failed("no row of the result's table is planted, or all are: its index columns are not understood")
    scores = scores_of(table)
    return auroc(scores if signed else np.abs(scores), planted)

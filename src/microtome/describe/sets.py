"""The best set of tokens for each unit: of all sets of tokens, that whose presence correlates most with the unit.

The best set of k tokens holds the k tokens with the highest mean value, so one sort per unit finds it (the sets are nested).
"""

from dataclasses import dataclass

import numpy as np

from microtome.describe.atoms import fewest, one_hot
from microtome.describe.predicates import Atom
from microtome.describe.rows import Rows
from microtome.describe.search import indicator_correlation

#: Largest set, so that a set can still be read.
LARGEST = 12
#: Rows of mean 0 added to each token, so that a rare token needs more than one lucky row.
SHRINK = 3.0


@dataclass(frozen=True)
class TokenSets:
    """Sets of at least two tokens, per unit: members[unit] (token numbers) of the token at `offset`."""

    offset: int
    members: list[np.ndarray]
    texts: list[str]

    def atom(self, unit: int) -> Atom | None:
        """The set of one unit as an atom; None when one token (or none) is best."""
        chosen = self.members[unit]
        return Atom("token", tuple(sorted(self.texts[i] for i in chosen)), self.offset) if len(chosen) > 1 else None


def token_sets(rows: Rows, train: np.ndarray, values: np.ndarray, offset: int, cost: float) -> TokenSets:
    """The best token set of every unit.

    Maximises ``corr(1[token in S], a) - cost |S|`` over sets of the tokens with the highest means.

    Parameters
    ----------
    rows : Rows
        All rows.
    train : int ndarray [n]
        Training rows.
    values : float32 ndarray [n, units]
        Standardised values on the training rows.
    offset : int
        Which token.
    cost : float
        Price of one more token, as a correlation.

    Returns
    -------
    TokenSets
    """
    width = len(rows.texts)
    if not width or not len(train):
        return TokenSets(offset, [np.zeros(0, dtype=int)] * values.shape[1], rows.texts)
    hot = one_hot(rows.at(offset)[train], width)
    count = np.asarray(hot.sum(axis=0), dtype=np.float64).ravel()
    often = np.flatnonzero(count >= fewest(len(train)))
    count, sums = count[often, None], (hot.tocsc()[:, often].T @ values)
    order = np.argsort(-sums / (count + SHRINK), axis=0, kind="stable")[:LARGEST]
    number = np.cumsum(count[order, 0], axis=0)
    r = indicator_correlation(number, np.cumsum(np.take_along_axis(sums, order, 0), axis=0), len(train))
    size = (r - cost * np.arange(1, len(r) + 1)[:, None]).argmax(axis=0) + 1 if len(r) else np.zeros(values.shape[1], int)
    return TokenSets(offset, [often[order[:k, u]] for u, k in enumerate(size)], rows.texts)

"""The search for a predicate: all atoms for all units in one product, then a beam over joined predicates for each unit."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from microtome.describe.atoms import Atoms, fewest
from microtome.describe.predicates import ANY, OPERATORS, Atom, Both, Predicate, combine, join

WIDTH = 16
#: Price of a literal as a correlation, beside the bits that name it divided by the rows.
PRICE = 0.01
#: Rows used by the beam; atoms are scored on all training rows.
BEAM_ROWS = 20_000


@dataclass(frozen=True)
class Found:
    """The best predicate of a unit on the training rows: its correlation, and that less the price of its literals."""

    predicate: Predicate
    correlation: float
    objective: float


def correlations(matrix: Any, values: np.ndarray) -> np.ndarray:
    """Point-biserial correlation of every atom with every unit: float32[atoms, units].

    Parameters
    ----------
    matrix : scipy.sparse.csc_matrix [rows, atoms]
        Ones where an atom holds.
    values : float32 ndarray [rows, units]
        Standardised columns (`standardised`).
    """
    number = np.asarray(matrix.sum(axis=0), dtype=np.float64).ravel()
    return indicator_correlation(number[:, None], matrix.T @ values, len(values)).astype(np.float32)


def standardised(values: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and standard deviation 1 (float32); constant columns become 0."""
    wide = values.astype(np.float64)
    centred = wide - wide.mean(axis=0)
    deviation = np.sqrt((centred**2).mean(axis=0))
    flat = deviation <= 1e-7 * np.maximum(1e-30, np.abs(wide).max(axis=0))
    return (centred / np.where(flat, np.inf, deviation)).astype(np.float32)


def literal_price(atoms: int, rows: int) -> float:
    """What one more literal must add to the correlation: a floor, plus the bits that name an atom over the rows."""
    return PRICE + float(np.log2(max(2, atoms))) / max(1, rows)


def beam(atoms: Atoms, single: np.ndarray, values: np.ndarray, own: dict[Atom, np.ndarray], length: int) -> Found:
    """The best predicate of at most `length` literals for one unit.

    Objective: correlation on the training rows minus `literal_price` per literal. Each step joins each of the 16 best
    predicates with every atom by "and", "or" and "and not"; counts and sums of all of them come from two products.

    Parameters
    ----------
    atoms : Atoms
        Atoms and their matrix [rows, atoms].
    single : ndarray [atoms]
        Correlation of each atom with the unit.
    values : float32 ndarray [rows]
        The unit, standardised.
    own : dict of Atom to bool ndarray [rows]
        Further atoms of this unit only (its token sets).
    length : int
        Longest predicate, in literals ("not" alone counts none).

    Returns
    -------
    Found
    """
    rows = len(values)
    price = literal_price(len(atoms.atoms), rows)
    names = [*atoms.atoms, *own]
    literals = np.concatenate([atoms.literals, [atom.literals for atom in own]])
    extra = np.stack(list(own.values()), axis=1).astype(np.float32) if own else np.zeros((rows, 0), np.float32)
    number = np.concatenate([atoms.counts, extra.sum(axis=0, dtype=np.float64)])
    total = np.concatenate([np.asarray(atoms.matrix.T @ values).ravel(), extra.T @ values]).astype(np.float64)
    alone = np.concatenate([single, indicator_correlation(number, total, rows)[len(single) :]])
    if not names:
        return Found(ANY, 0.0, 0.0)
    # An atom and its denial ("any row and not ...") both start; the denial costs half a literal more.
    first = np.stack([alone - price * literals, -alone - price * (literals + 0.5)])
    best, held = [], []
    for place in _distinct(first, np.stack([number, -number]), np.stack([total, -total])):
        denied, atom = divmod(place, len(names))
        truth = atoms.column(atom) if atom < len(atoms.atoms) else own[names[atom]]
        predicate = Both("and not", ANY, names[atom]) if denied else names[atom]
        best.append(Found(predicate, float(alone[atom] * (1 - 2 * denied)), float(first[denied, atom])))
        held.append(truth != bool(denied))
    winner = best[0]
    for _ in range(length - 1):
        best, held = _step(atoms, extra, names, literals, number, total, values, price, best, held)
        if not best or best[0].objective <= winner.objective:
            break
        winner = best[0]
    return winner


def _step(
    atoms: Atoms, extra: np.ndarray, names: list[Atom], literals: np.ndarray, number: np.ndarray, total: np.ndarray,
    values: np.ndarray, price: float, beams: list[Found], held: list[np.ndarray],
) -> tuple[list[Found], list[np.ndarray]]:
    """The best predicates with one literal more than those of the beam."""
    rows = len(values)
    truth = np.stack(held, axis=1).astype(np.float32)
    both = np.concatenate([truth, truth * values[:, None]], axis=1)
    shared = np.concatenate([atoms.matrix.T @ both, extra.T @ both]).astype(np.float64)
    width = len(beams)
    joint_n, joint_s = shared[:, :width], shared[:, width:]
    beam_n, beam_s = truth.sum(axis=0, dtype=np.float64), truth.T.astype(np.float64) @ values
    counts = np.stack([joint_n, beam_n + number[:, None] - joint_n, beam_n - joint_n])  # as OPERATORS
    sums = np.stack([joint_s, beam_s + total[:, None] - joint_s, beam_s - joint_s])
    r = indicator_correlation(counts, sums, rows)
    cost = price * (np.array([b.predicate.literals for b in beams])[None, :] + literals[:, None])
    few = fewest(rows)
    score = np.where((counts >= few) & (rows - counts >= few), r - cost, -np.inf)
    found, truths = [], []
    for place in _distinct(score, counts, sums):
        operator, atom, at = np.unravel_index(place, score.shape)
        right = atoms.column(atom) if atom < len(atoms.atoms) else extra[:, atom - len(atoms.atoms)] > 0
        predicate = join(OPERATORS[operator], beams[at].predicate, names[atom])
        found.append(Found(predicate, float(r[operator, atom, at]), float(score[operator, atom, at])))
        truths.append(combine(OPERATORS[operator], held[at], right))
    return found, truths


def _distinct(score: np.ndarray, counts: np.ndarray, sums: np.ndarray) -> list[int]:
    """Places of the `WIDTH` best finite scores that differ in count or sum; equal ones are the same rows said twice."""
    flat = score.ravel()
    several = min(len(flat), 6 * WIDTH)
    top = np.argpartition(-flat, several - 1)[:several]
    top = top[np.lexsort((top, -flat[top]))]
    chosen: list[int] = []
    seen = set()
    for place in top[np.isfinite(flat[top])]:
        key = (round(float(counts.ravel()[place])), round(float(sums.ravel()[place]), 2))
        if key not in seen:
            seen.add(key)
            chosen.append(int(place))
        if len(chosen) == WIDTH:
            break
    return chosen


def indicator_correlation(number: np.ndarray, total: np.ndarray, rows: int) -> np.ndarray:
    """Correlation of an indicator with a standardised unit, from its count and the unit's sum over it."""
    share = number / rows
    spread = np.sqrt(np.clip(share * (1 - share), 0, None))
    # An indicator of all rows has no spread; rounding must not give it a correlation.
    return np.divide(total / rows, spread, out=np.zeros(np.broadcast(number, total).shape), where=spread > 0.5 / rows)

"""Predicates: yes-or-no statements about a row, built from atoms with and, or, and not."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from microtome.describe.rows import Rows
from microtome.describe.texts import SHAPES, which
from microtome.errors import FormatError, UsageError, nearest

#: Tests of the token at an offset; these take `values` that are texts.
TOKEN_KINDS = ("token", "word", "ending", "shape")
#: Kind -> number of values (None: one or more).
KINDS = {
    "any": 0, "token": None, "word": None, "ending": None, "shape": None, "recent": None, "earlier": None, "seen": 0,
    "pair": 0, "inside": 1, "position": 1, "place": 3, "tag": 2, "label": 1,
}  # fmt: skip
OFFSETS = (-2, -1, 0, 1)
OPERATORS = ("and", "or", "and not")
#: How far back "recent" looks, in tokens.
RECENT = 5
DEPTH = 16


@dataclass(frozen=True)
class Atom:
    """One test of a row.

    Attributes
    ----------
    kind : str
        One of `KINDS`: the token itself, its word (lower case), ending or shape; recent and earlier tokens; repetition;
        brackets and quotes; position; place in an image; tag of the document; label of the row.
    values : tuple of str or int
        What is tested for; any of several texts suffices.
    offset : int, default 0
        Which token is tested, from -2 to 1; 1 (the next token) is hidden from a causal model.
    """

    kind: str
    values: tuple[str | int, ...] = ()
    offset: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"no predicate of kind {self.kind!r}.{nearest(str(self.kind), KINDS)} Kinds: {', '.join(KINDS)}.")
        number = KINDS[self.kind]
        object.__setattr__(self, "values", tuple(self.values))
        if len(self.values) != number if number is not None else not self.values:
            raise UsageError(f"a {self.kind!r} predicate takes {number or 'one or more'} values, got {self.values!r}.")
        if self.offset not in OFFSETS or (self.offset and self.kind not in TOKEN_KINDS):
            raise UsageError(f"a {self.kind!r} predicate has no offset {self.offset!r}; tokens are tested at {OFFSETS}.")
        known = {"shape": tuple(SHAPES), "inside": ("brackets", "quotes")}.get(self.kind)
        strange = [v for v in self.values if known and v not in known]
        if strange:
            raise UsageError(f"{self.kind} {strange[0]!r} is none of {known}.")
        integers = [self.kind == "position" or (self.kind == "place" and i == 2) for i in range(len(self.values))]
        if any(isinstance(v, bool) or not isinstance(v, int if i else str) for v, i in zip(self.values, integers)):
            raise UsageError(f"values {self.values!r} do not fit a {self.kind!r} predicate.")
        if self.kind == "place" and (self.values[0] not in ("y", "x") or self.values[1] not in ("below", "from")):
            raise UsageError(f"a place is (y or x, below or from, number), got {self.values!r}.")

    @property
    def literals(self) -> float:
        """Its complexity: 1, plus 1/4 for every further text of a set."""
        return 0.0 if self.kind == "any" else 1.0 + 0.25 * max(0, len(self.values) - 1) * (KINDS[self.kind] is None)

    def holds(self, rows: Rows) -> np.ndarray:
        """Where it holds: bool[rows]."""
        values = self.values
        if self.kind in TOKEN_KINDS:
            return _of_tokens(rows.at(self.offset), which(self.kind, values, rows.texts))
        if self.kind == "recent":
            chosen = which("token", values, rows.texts)
            found = np.zeros(len(rows), dtype=bool)
            for back in range(1, RECENT + 1):
                found |= _of_tokens(rows.at(-back), chosen)
            return found
        if self.kind == "earlier":
            return rows.earlier(np.flatnonzero(which("token", values, rows.texts)))
        if self.kind == "place":
            place = rows.places.get(values[0])
            if place is None:
                raise UsageError(f"the rows have no place {values[0]!r}; they are not of images.")
            return place < values[2] if values[1] == "below" else place >= values[2]
        if self.kind == "tag":
            return _known(rows.tags, values[0], "tag") == values[1]
        if self.kind == "label":
            return _known(rows.labels, values[0], "label").copy()
        return _simple(self.kind, values, rows)

    def to_tree(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        tree: dict[str, Any] = {"kind": self.kind, "values": list(self.values)}
        return tree | {"offset": self.offset} if self.offset else tree

    def __str__(self) -> str:
        from microtome.describe.grammar import words

        return words(self)


@dataclass(frozen=True)
class Both:
    """Two predicates joined by "and", "or" or "and not"."""

    operator: str
    left: "Predicate"
    right: "Predicate"

    def __post_init__(self) -> None:
        if self.operator not in OPERATORS:
            raise UsageError(f"predicates are joined by one of {OPERATORS}, got {self.operator!r}.")

    @property
    def literals(self) -> float:
        """Complexity: that of both sides."""
        return self.left.literals + self.right.literals

    def holds(self, rows: Rows) -> np.ndarray:
        """Where it holds: bool[rows]."""
        left, right = self.left.holds(rows), self.right.holds(rows)
        return combine(self.operator, left, right)

    def to_tree(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {self.operator: [self.left.to_tree(), self.right.to_tree()]}

    def __str__(self) -> str:
        from microtome.describe.grammar import words

        return words(self)


Predicate = Atom | Both
ANY = Atom("any")


def combine(operator: str, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Truth of two joined predicates from the truth of each."""
    return left & right if operator == "and" else left | right if operator == "or" else left & ~right


def join(operator: str, left: Predicate, right: Atom) -> Predicate:
    """Two predicates joined; tokens joined by "or" become one set, which says the same in fewer words."""
    if operator == "or" and isinstance(left, Atom) and left.kind == right.kind and left.offset == right.offset:
        if KINDS[left.kind] is None:
            return Atom(left.kind, tuple(sorted({*left.values, *right.values})), left.offset)
    elif operator == "or" and isinstance(left, Both) and left.operator == "or" and isinstance(left.right, Atom):
        inner = join("or", left.right, right)
        if isinstance(inner, Atom):
            return Both("or", left.left, inner)
    return Both(operator, left, right)


def from_tree(tree: Any, depth: int = DEPTH) -> Predicate:
    """The predicate that `to_tree` described; FormatError when it is not one."""
    if not isinstance(tree, dict) or depth < 1:
        found = f"a {type(tree).__name__} at depth {DEPTH - depth}"
        raise FormatError(f"a predicate is an object, at most {DEPTH} deep; found {found}.")
    try:
        if len(tree) == 1 and next(iter(tree)) in OPERATORS:
            operator, sides = next(iter(tree.items()))
            if isinstance(sides, list) and len(sides) == 2:
                return Both(operator, from_tree(sides[0], depth - 1), from_tree(sides[1], depth - 1))
        if set(tree) <= {"kind", "values", "offset"} and isinstance(tree.get("values"), list):
            return Atom(tree["kind"], tuple(tree["values"]), tree.get("offset", 0))
    except (UsageError, KeyError, TypeError) as error:
        raise FormatError(f"the stored predicate is damaged: {error}") from error
    raise FormatError(f"this is no predicate: an object with {[str(key)[:40] for key in tree][:5]}.")


def _of_tokens(numbers: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return np.append(chosen, False)[numbers]  # -1, no token, is the last entry


def _known(known: dict[str, np.ndarray], name: Any, what: str) -> np.ndarray:
    if name not in known:
        raise UsageError(f"the rows have no {what} {name!r}; they have {list(known)[:20]}.{nearest(str(name), known)}")
    return known[name]


def _simple(kind: str, values: tuple, rows: Rows) -> np.ndarray:
    if kind == "any":
        return np.ones(len(rows), dtype=bool)
    if kind == "seen":
        return rows.seen.copy()
    if kind == "pair":
        return rows.pair_seen.copy()
    if kind == "position":
        return rows.position < values[0]
    return (rows.in_brackets if values[0] == "brackets" else rows.in_quotes).copy()

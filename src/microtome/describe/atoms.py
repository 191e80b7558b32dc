"""Atoms worth trying: mined from what occurs, as one sparse matrix [rows, atoms]."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from microtome.describe.predicates import RECENT, TOKEN_KINDS, Atom
from microtome.describe.rows import Rows
from microtome.describe.texts import SHAPES, word

#: Atoms of one group (say, previous tokens) at most: the most frequent.
MOST = 1500
#: Tokens tried as marks anywhere before the row; frequent ones soon stand before every row.
MARKS = 48
ENDINGS = (1, 2, 3, 4)
POSITIONS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Atoms:
    """Atoms and where they hold.

    Attributes
    ----------
    atoms : list of Atom
        In a fixed order.
    matrix : scipy.sparse.csc_matrix [rows, atoms]
        Ones (float32) where an atom holds.
    """

    atoms: list[Atom]
    matrix: Any

    @cached_property
    def literals(self) -> np.ndarray:
        """Complexity of each atom."""
        return np.array([atom.literals for atom in self.atoms], dtype=np.float64)

    @cached_property
    def counts(self) -> np.ndarray:
        """Rows on which each atom holds."""
        return np.diff(self.matrix.indptr).astype(np.float64)

    def column(self, number: int) -> np.ndarray:
        """Where one atom holds: bool[rows]."""
        lo, hi = self.matrix.indptr[number], self.matrix.indptr[number + 1]
        found = np.zeros(self.matrix.shape[0], dtype=bool)
        found[self.matrix.indices[lo:hi]] = True
        return found


def mine(rows: Rows, train: np.ndarray, offsets: tuple[int, ...] = (0, -1, -2)) -> Atoms:
    """Atoms that hold, and do not hold, on enough of the training rows.

    Parameters
    ----------
    rows : Rows
        All rows of a recording.
    train : int ndarray [n]
        The training rows; the matrix has a line for each.
    offsets : tuple of int, default (0, -1, -2)
        Which tokens are tested. (1,) gives atoms of the next token only, which a causal model cannot know.

    Returns
    -------
    Atoms
        At least max(5, n / 5000) rows on either side of each atom.
    """
    from scipy import sparse

    least = fewest(len(train))
    atoms: list[Atom] = []
    parts = []
    groups = [*_token_groups(rows, train, offsets), *(_plain_groups(rows, train) if 0 in offsets else ())]
    for names, matrix in groups:
        count = np.asarray(matrix.sum(axis=0)).ravel()
        good = np.flatnonzero((count >= least) & (len(train) - count >= least))
        good = np.sort(good[np.argsort(-count[good], kind="stable")[:MOST]])
        atoms += [names[i] for i in good]
        parts.append(matrix.tocsc()[:, good])
    empty = sparse.csc_matrix((len(train), 0), dtype=np.float32)
    matrix = sparse.hstack(parts, format="csc", dtype=np.float32) if atoms else empty
    matrix.sort_indices()
    return Atoms(atoms, matrix)


def fewest(rows: int) -> int:
    """Rows on which an atom must hold to be tried."""
    return max(5, rows // 5000)


def one_hot(numbers: np.ndarray, width: int) -> Any:
    """Sparse [rows, width] with a one at each row's number; rows of -1 stay empty."""
    from scipy import sparse

    known = np.flatnonzero(numbers >= 0)
    ones = np.ones(len(known), dtype=np.float32)
    return sparse.csr_matrix((ones, (known, numbers[known])), shape=(len(numbers), width))


def _token_groups(rows: Rows, train: np.ndarray, offsets: tuple[int, ...]) -> Iterator[tuple[list[Atom], Any]]:
    """The token, its word, endings and shapes at each offset; tokens a little and anywhere before."""
    width = len(rows.texts)
    if not width:
        return
    features = _text_features(rows.texts)
    for offset in offsets:
        hot = one_hot(rows.at(offset)[train], width)
        yield [Atom("token", (text,), offset) for text in rows.texts], hot
        for kind in TOKEN_KINDS[1:] if offset > -2 else ():
            values, table = features[kind]
            yield [Atom(kind, (value,), offset) for value in values], hot @ table
    if 0 not in offsets:
        return
    near = sum(one_hot(rows.at(-back)[train], width) for back in range(1, RECENT + 1))
    near.data[:] = 1
    common = np.sort(np.argsort(-np.bincount(rows.token[train] + 1, minlength=width + 1)[1:], kind="stable")[: MOST // 3])
    yield [Atom("recent", (rows.texts[i],)) for i in common], near.tocsc()[:, common]
    marks = _marks(rows, train)
    yield from _dense([(Atom("earlier", (rows.texts[i],)), rows.earlier(np.array([i]))[train]) for i in marks])


def _plain_groups(rows: Rows, train: np.ndarray) -> Iterator[tuple[list[Atom], Any]]:
    """Repetition, brackets and quotes, position, places, tags and labels."""
    atoms = [Atom("position", (p,)) for p in POSITIONS]
    if rows.texts:
        atoms += [Atom("seen"), Atom("pair"), Atom("inside", ("brackets",)), Atom("inside", ("quotes",))]
    for axis, place in rows.places.items():
        cuts = sorted({int(c) for c in np.quantile(place[train], [0.25, 0.5, 0.75])}) if len(train) else []
        atoms += [Atom("place", (axis, side, cut)) for cut in cuts for side in ("below", "from")]
    for name, values in rows.tags.items():
        atoms += [Atom("tag", (name, value)) for value in sorted(set(values[train])) if value]
    atoms += [Atom("label", (name,)) for name in rows.labels]
    return _dense([(atom, atom.holds(rows)[train]) for atom in atoms])


def _dense(columns: list[tuple[Atom, np.ndarray]]) -> Iterator[tuple[list[Atom], Any]]:
    from scipy import sparse

    if columns:
        yield [atom for atom, _ in columns], sparse.csr_matrix(np.stack([c for _, c in columns], axis=1).astype(np.float32))


def _marks(rows: Rows, train: np.ndarray) -> np.ndarray:
    """Tokens of middling frequency over samples: in 5% to 80% of them, the most even first."""
    pairs = np.unique(np.stack([rows.token[train], rows.sample[train]]), axis=1)
    share = np.bincount(pairs[0][pairs[0] >= 0], minlength=len(rows.texts)) / max(1, len(np.unique(rows.sample[train])))
    good = np.flatnonzero((share > 0.05) & (share < 0.8))
    return np.sort(good[np.argsort(np.abs(share[good] - 0.4), kind="stable")[:MARKS]])


def _text_features(texts: list[str]) -> dict[str, tuple[list[str], Any]]:
    """Words, endings and shapes of texts: their names, and a sparse table [texts, names]."""
    words = [word(text) for text in texts]
    ends = [[w[-n:] for n in ENDINGS if len(w) > n and w.isalpha()] for w in words]
    shapes = [[name for name, test in SHAPES.items() if test(text)] for text in texts]
    # A word with one spelling is that token: its atom would be the token's under another name.
    merged = {w for w, n in Counter(words).items() if n > 1 and w}
    return {
        "word": _table([[w] if w in merged else [] for w in words]),
        "ending": _table(ends),
        "shape": _table(shapes),
    }


def _table(features: list[list[str]]) -> tuple[list[str], Any]:
    from scipy import sparse

    names = sorted({name for row in features for name in row})
    number = {name: i for i, name in enumerate(names)}
    cells = [(i, number[name]) for i, row in enumerate(features) for name in row]
    at = np.array(cells, dtype=np.int64).reshape(-1, 2)
    ones = np.ones(len(cells), dtype=np.float32)
    return names, sparse.csr_matrix((ones, (at[:, 0], at[:, 1])), shape=(len(features), len(names)))

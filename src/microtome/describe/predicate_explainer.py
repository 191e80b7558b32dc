"""Describe units in words without a language model: search for a predicate, judge it on other documents."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from microtome.describe.atoms import Atoms, mine
from microtome.describe.chance import chance
from microtome.describe.description import Description
from microtome.describe.descriptions import Descriptions
from microtome.describe.heldout import agreement, correlation, intervals, thresholds
from microtome.describe.rows import Rows
from microtome.describe.search import BEAM_ROWS, Found, beam, correlations, literal_price, standardised
from microtome.describe.sets import token_sets
from microtome.describe.values import strongest, unit_values
from microtome.errors import Degenerate, UsageError
from microtome.evidence import Estimate, Null, Provenance, benjamini_hochberg
from microtome.method import Paper, method
from microtome.subject.recording.halves import halves

KIND = "predicate and unit out of step (documents exchanged and shifted)"
#: Strongest rows kept as evidence.
EVIDENCE = 10
#: Third standardised moment from which one tail is the long one.
SKEWED = 1.0


@method(
    question="describe",
    paper=Paper("Mu, Andreas", 2020, "Compositional Explanations of Neurons", "https://arxiv.org/abs/2006.14032"),
    needs=("recording",),
    gives="Descriptions",
    stochastic=True,
    cost="O(rows * atoms per row * units) for atoms, then about 10 ms per unit for beam and null; no forward passes",
    claim="Short logical combinations of simple concepts describe units better than single concepts.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="That the network uses the unit so, or that the words are the whole story: read recall and the score.",
    tiny={"length": 2, "draws": 199},
)  # fmt: skip
def predicate_explainer(
    recording: Any,
    *,
    units: Sequence[int] | None = None,
    tokens: Sequence[str] | None = None,
    length: int = 3,
    share: float = 0.5,
    draws: int = 499,
    alpha: float = 0.05,
    seed: int = 0,
) -> Descriptions:
    """Describe each unit by the short predicate over tokens and context that correlates most with it.

    ``max over predicates P: corr(1[P], a) - price * literals(P)``, P of atoms joined by and, or, and not; found on part of
    the documents, scored on the others.

    Parameters
    ----------
    recording : Recording
        One site, ``[rows, units]``: neurons, or latents from ``recording.encode(basis)``. Predicates come from the index
        (tokens and their neighbours, positions), the table (tags of documents) and the labels.
    units : sequence of int, optional
        Default: all.
    tokens : sequence of str, optional
        Token texts by id, e.g. ``token_texts(subject)``. Without it, ids of a recording are written as "#id".
    length : int, default 3
        Longest predicate, in literals. The paper uses up to 10 on masks.
    share : float, default 0.5
        Part of the documents used for the search.
    draws : int, default 499
        Draws of the null. With few described units among many, more are needed for any q to fall below `alpha`.
    alpha : float, default 0.05
        Level of the verdicts, after Benjamini-Hochberg over the units.
    seed : int, default 0

    Returns
    -------
    Descriptions
        One `Description` per unit, in the order of `units`; ``.table``, ``.finding()``.

    Raises
    ------
    UsageError
        More than one site, a unit that does not exist, or options outside their range.
    NonFinite
        When a unit is NaN or infinite.
    Degenerate
        Fewer than four documents, no unit that varies, or no predicate that holds on some rows and not on others.

    Notes
    -----
    Null: with independent values a share of at most `alpha` of runs describes any unit. Units of a random network follow
    the current token through its embedding and are described as well: compare with ``subject.twin()``.
    Misleads when a predicate is a stand-in for a concept that the atoms cannot say; when documents are few; when many rows
    make a faint score significant: read the score, not only the verdict.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> g = np.random.default_rng(0)
    >>> ids = g.integers(0, 5, 600); x = g.normal(size=(600, 2)); x[:, 1] += 4 * (ids == 3)
    >>> where = {"sample": np.repeat(np.arange(30), 20), "position": np.tile(np.arange(20), 30), "token": ids}
    >>> found = predicate_explainer(Recording.of(torch.tensor(x), site="mlp", index=where), tokens=list("abcde"))
    >>> [(d.text, d.verdict) for d in found][1]
    ('the token is "d"', 'described')

    References
    ----------
    Mu, Andreas (2020). Compositional Explanations of Neurons. https://arxiv.org/abs/2006.14032
    """
    _check(length, draws, alpha)
    values, names = unit_values(recording, units)
    chosen, groups = halves(recording, share, seed, fewest=2)
    searched, judged = np.flatnonzero(chosen), np.flatnonzero(~chosen)
    rows = Rows.of(recording, tokens)
    atoms = mine(rows, searched)
    unit = standardised(values[searched])
    if not (unit != 0).any():
        raise Degenerate("no unit varies on the documents searched, so there is nothing to describe.")
    if not atoms.atoms:
        raise Degenerate("no predicate holds on some rows and fails on others; record tokens, or add labels to the recording.")
    single = correlations(atoms.matrix, unit)
    signs = _signs(single, values[searched], unit)
    found = _search(rows, atoms, searched, unit * signs, single * signs, length)
    signed = values * signs
    cache = {f.predicate: None for f in found}
    truth = np.stack([_held(f, rows, cache) for f in found], axis=1)
    here, there = truth[searched], truth[judged]
    r = correlation(there, signed[judged])
    low, high = intervals(there, signed[judged], groups[judged], seed)
    null = chance(there, signed[judged], groups[judged], draws, seed)
    q = benjamini_hochberg(null.p)
    limits = thresholds(here, signed[searched])
    agree = agreement(there, signed[judged], limits)
    evidence = strongest(signed, searched, recording.index["sample"].to_numpy(), EVIDENCE)
    documents = len(np.unique(groups[judged]))
    how = "correlation, percentile bootstrap of documents"
    made = [
        Description(
            unit=names[u], predicate=found[u].predicate, sign=int(signs[u]), train_score=found[u].correlation,
            score=Estimate(r[u], min(low[u], r[u]), max(high[u], r[u]), n=documents, method=how),
            null=Null(KIND, null.thinned[:, u], r[u]), p=float(null.p[u]), q=float(q[u]), threshold=float(limits[u]),
            evidence=tuple(int(row) for row in evidence[u]), verdict="described" if q[u] <= alpha else "undescribed",
            **{name: float(column[u]) for name, column in agree.items()},
        )
        for u in range(len(names))
    ]  # fmt: skip
    known = dict(recording.provenance)
    provenance = Provenance(subject=str(known.get("subject", "")), data=str(known.get("data", "")), seed=seed)
    mean = float(r.mean())
    ends = min(float(low.mean()), mean), max(float(high.mean()), mean)
    whole = Estimate(mean, *ends, n=documents, method="mean over units of the ends of their intervals; " + how)
    controls = _controls(rows, searched, judged, signed)
    return Descriptions(tuple(made), whole, Null(KIND, null.mean, mean), provenance, alpha, controls)


def _check(length: int, draws: int, alpha: float) -> None:
    for name, value in (("length", length), ("draws", draws)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UsageError(f"{name} must be an int >= 1, got {value!r}.")
    if not 0 < alpha < 1:
        raise UsageError(f"alpha must be between 0 and 1, got {alpha!r}.")


def _signs(single: np.ndarray, values: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """The side to describe: 1 for units that are never negative; else that of the long tail; else that of the best atom."""
    skew = (unit.astype(np.float64) ** 3).mean(axis=0)
    # A statement and its denial are equally good on two sides; the margin keeps to the positive one.
    falls = (-single).max(axis=0) > 1.1 * single.max(axis=0)
    low = np.where(np.abs(skew) > SKEWED, skew < 0, falls) & (values.min(axis=0) < 0)
    return np.where(low, -1.0, 1.0).astype(np.float32)


def _search(
    rows: Rows, atoms: Atoms, train: np.ndarray, unit: np.ndarray, single: np.ndarray, length: int
) -> list[Found]:
    """The best predicate of every unit."""
    price = literal_price(len(atoms.atoms), len(train))
    sets = [token_sets(rows, train, unit, offset, price / 4) for offset in (0, -1)]
    part = np.linspace(0, len(train) - 1, min(len(train), BEAM_ROWS)).astype(int)
    fewer = atoms if len(part) == len(train) else Atoms(atoms.atoms, atoms.matrix.tocsr()[part].tocsc())
    found = []
    for u in range(unit.shape[1]):
        own = [s.atom(u) for s in sets]
        held = {atom: atom.holds(rows)[train[part]] for atom in own if atom is not None}
        found.append(beam(fewer, single[:, u], np.ascontiguousarray(unit[part, u]), held, length))
    return found


def _held(found: Found, rows: Rows, cache: dict) -> np.ndarray:
    if cache[found.predicate] is None:
        cache[found.predicate] = found.predicate.holds(rows)
    return cache[found.predicate]


def _controls(rows: Rows, searched: np.ndarray, judged: np.ndarray, signed: np.ndarray) -> dict[str, float]:
    """Held-out mean of the best single atom of the current token, and of the next one, which a causal model cannot see."""
    found = {}
    for name, offset in (("best single token atom", 0), ("best atom of the next token (unseen by a causal model)", 1)):
        atoms = mine(rows, searched, offsets=(offset,)) if rows.texts else None
        if atoms is not None and atoms.atoms:
            best = correlations(atoms.matrix, standardised(signed[searched])).argmax(axis=0)
            held = {i: atoms.atoms[i].holds(rows)[judged] for i in np.unique(best)}
            found[name] = float(correlation(np.stack([held[i] for i in best], axis=1), signed[judged]).mean())
    return found

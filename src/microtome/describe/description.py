"""The noun: what a unit responds to, in words and as a predicate, with its score on unseen documents."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from microtome.describe.predicates import Predicate, from_tree
from microtome.describe.rows import Rows
from microtome.errors import FormatError, MicrotomeError
from microtome.evidence import Estimate, Null

LAYOUT = "microtome.description/1"
NUMBERS = ("train_score", "threshold", "precision", "recall", "f1", "auroc", "rate", "coverage", "p", "q")


@dataclass(frozen=True, eq=False)
class Description:
    """What one unit responds to.

    Attributes
    ----------
    unit : str
        As `Unit` prints it.
    predicate : Predicate
        The best statement found, also when it did not hold on other documents (`verdict`).
    sign : int
        1: the unit is high where the predicate holds; -1: low.
    train_score, score : float, Estimate
        Correlation of the predicate with the (signed) unit on the documents searched, and on others with its interval.
    null : Null
        Quantiles of the correlation when predicate and unit are out of step.
    p, q : float
        From all draws of the null (`null` keeps 99 of them); q after Benjamini-Hochberg over the units described together.
    threshold : float
        Signed value above which the unit counts as firing, chosen on the documents searched.
    precision, recall, f1 : float
        Of the predicate for firing, on other documents, at the true rate.
    auroc : float
        Chance that the unit is higher on a row of the predicate than on another.
    rate, coverage : float
        Share of rows on which the unit fires, and on which the predicate holds.
    evidence : tuple of int
        Rows of the recording with the strongest values in the documents searched, at most one per sample.
    verdict : str
        "described" or "undescribed".
    """

    unit: str
    predicate: Predicate
    sign: int
    train_score: float
    score: Estimate
    null: Null
    p: float
    q: float
    threshold: float
    precision: float
    recall: float
    f1: float
    auroc: float
    rate: float
    coverage: float
    evidence: tuple[int, ...]
    verdict: str

    @property
    def text(self) -> str:
        """The predicate in words; `grammar.parse` reads it back."""
        return str(self.predicate)

    def applies(self, recording: Any, tokens: Sequence[str] | None = None) -> np.ndarray:
        """Where the predicate holds on any recording: bool[rows]. `tokens` are texts by id, as for the explainer."""
        return self.predicate.holds(recording if isinstance(recording, Rows) else Rows.of(recording, tokens))

    def __str__(self) -> str:
        if self.verdict != "described":
            return f"{self.unit}: undescribed (best: {self.text}; r = {self.score.value:.2f}, q = {self.q:.2g})"
        level = "high" if self.sign > 0 else "low"
        return f"{self.unit} is {level} where {self.text} (r = {self.score.value:.2f}, F1 = {self.f1:.2f}, q = {self.q:.2g})"

    __repr__ = __str__

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        plain = {name: getattr(self, name) for name in ("unit", "sign", "text", "verdict", *NUMBERS)}
        nouns = {"predicate": self.predicate.to_tree(), "score": self.score.to_dict(), "null": self.null.to_dict()}
        return {"layout": LAYOUT, "evidence": list(self.evidence), **plain, **nouns}

    @classmethod
    def from_dict(cls, data: Any) -> "Description":
        """The description that `to_dict` described; FormatError when it is not one."""
        if not isinstance(data, Mapping) or data.get("layout") != LAYOUT:
            raise FormatError(f"this is not a description in layout {LAYOUT!r}: {str(data)[:80]!r}.")
        wanted = {f.name for f in fields(cls)}
        if set(data) != wanted | {"layout", "text"}:
            odd = sorted(set(data) ^ (wanted | {"layout", "text"}))
            raise FormatError(f"a stored description has exactly its fields; missing or unknown: {odd}.")
        predicate = from_tree(data["predicate"])
        if data["text"] != str(predicate):
            raise FormatError(f"the words of {data['unit']!r} do not say its predicate: {str(data['text'])[:80]!r}.")
        numbers = [data[name] for name in NUMBERS]
        good = all(isinstance(x, (int, float)) and not isinstance(x, bool) and np.isfinite(x) for x in numbers)
        rows = data["evidence"]
        if not good or data["sign"] not in (1, -1) or not isinstance(data["unit"], str):
            raise FormatError(f"the stored description of {str(data['unit'])[:80]!r} has numbers that are none.")
        if not isinstance(rows, list) or any(isinstance(r, bool) or not isinstance(r, int) for r in rows):
            raise FormatError("the evidence of a stored description is a list of row numbers.")
        if data["verdict"] not in ("described", "undescribed"):
            raise FormatError(f"a verdict is 'described' or 'undescribed', found {str(data['verdict'])[:40]!r}.")
        try:
            score, null = Estimate.from_dict(data["score"]), Null.from_dict(data["null"])
        except (MicrotomeError, TypeError, ValueError) as error:
            raise FormatError(f"the stored description is damaged: {error}") from error
        plain = {name: data[name] for name in ("unit", "sign", "verdict", *NUMBERS)}
        return cls(predicate=predicate, score=score, null=null, evidence=tuple(rows), **plain)

    def to_json(self) -> str:
        """Canonical JSON text."""
        return json.dumps(self.to_dict(), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Description":
        """The description that `to_json` wrote."""
        from microtome.io import parse_json

        return cls.from_dict(parse_json(text.encode(), "description"))

"""The descriptions of the units of one recording, as one family."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from microtome.describe.description import Description
from microtome.errors import FormatError, MicrotomeError, UsageError, nearest
from microtome.evidence import Estimate, Finding, Null, Provenance

if TYPE_CHECKING:
    import pandas as pd

LAYOUT = "microtome.descriptions/1"
FIELDS = ("layout", "descriptions", "estimate", "null", "provenance", "alpha", "controls")


@dataclass(frozen=True, eq=False)
class Descriptions:
    """Descriptions in the order of the units, and what was found over all of them.

    Attributes
    ----------
    descriptions : tuple of Description
        One per unit.
    estimate : Estimate
        Mean held-out correlation over the units, interval over documents.
    null : Null
        The same mean when predicates and units are out of step.
    provenance : Provenance
        Of the recording.
    alpha : float
        Level of the verdicts.
    controls : mapping of str to float
        Held-out means to read beside the estimate, by what was measured.
    """

    descriptions: tuple[Description, ...]
    estimate: Estimate
    null: Null
    provenance: Provenance
    alpha: float = 0.05
    controls: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.descriptions)

    def __iter__(self) -> Iterator[Description]:
        return iter(self.descriptions)

    def __getitem__(self, key: int | str) -> Description:
        """By place, or by the name of the unit."""
        if isinstance(key, str):
            known = {d.unit: d for d in self.descriptions}
            if key not in known:
                raise UsageError(f"no description of {key!r} among {len(known)}.{nearest(key, known)}")
            return known[key]
        return self.descriptions[key]

    @property
    def described(self) -> list[Description]:
        """Those that hold on unseen samples, the highest score first."""
        kept = [d for d in self.descriptions if d.verdict == "described"]
        return sorted(kept, key=lambda d: -d.score.value)

    @property
    def table(self) -> "pd.DataFrame":
        """One line per unit: description, scores on unseen samples with their interval, p, q, verdict."""
        import pandas as pd

        return pd.DataFrame([
            {
                "unit": d.unit, "description": d.text, "sign": d.sign, "score": d.score.value, "low": d.score.low,
                "high": d.score.high, "train_score": d.train_score, "precision": d.precision, "recall": d.recall, "f1": d.f1,
                "auroc": d.auroc, "rate": d.rate, "coverage": d.coverage, "p": d.p, "q": d.q, "verdict": d.verdict,
            }
            for d in self.descriptions
        ])  # fmt: skip

    @property
    def verdict(self) -> str:
        """That of the finding."""
        return self.finding().verdict

    def finding(self) -> Finding:
        """How many units are described, with the mean score, its null and its controls."""
        count = sum(d.verdict == "described" for d in self.descriptions)
        return Finding(
            f"{count} of {len(self)} units have a description in words that holds on unseen samples",
            estimate=self.estimate, nulls=(self.null,), controls=self.controls, table=self.table,
            provenance=self.provenance, alpha=self.alpha,
        )  # fmt: skip

    def to_json(self) -> str:
        """Canonical JSON text."""
        return json.dumps({
            "layout": LAYOUT, "descriptions": [d.to_dict() for d in self.descriptions], "estimate": self.estimate.to_dict(),
            "null": self.null.to_dict(), "provenance": self.provenance.to_dict(), "alpha": self.alpha,
            "controls": dict(self.controls),
        }, sort_keys=True, allow_nan=False)  # fmt: skip

    @classmethod
    def from_json(cls, text: str) -> "Descriptions":
        """What `to_json` wrote; FormatError when it is not that."""
        from microtome.io import parse_json

        data = parse_json(text.encode(), "descriptions")
        if not isinstance(data, dict) or data.get("layout") != LAYOUT or set(data) != set(FIELDS):
            raise FormatError(f"these are not descriptions in layout {LAYOUT!r}: {str(data)[:80]!r}.")
        rows, controls = data["descriptions"], data["controls"]
        if not isinstance(rows, list) or not isinstance(controls, dict):
            raise FormatError("stored descriptions hold a list 'descriptions' and an object 'controls'.")
        try:
            made = cls(
                tuple(Description.from_dict(d) for d in rows), Estimate.from_dict(data["estimate"]),
                Null.from_dict(data["null"]), Provenance.from_dict(data["provenance"]), data["alpha"], controls,
            )  # fmt: skip
            made.finding()  # refuses an alpha or a control that is none
        except (MicrotomeError, TypeError, ValueError) as error:
            raise FormatError(f"the stored descriptions are damaged: {error}") from error
        return made

    def __str__(self) -> str:
        lines = [self.finding().claim, *(f"  {d}" for d in self.described[:10])]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> Any:
        return self.finding()._repr_html_()

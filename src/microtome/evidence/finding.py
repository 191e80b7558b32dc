"""A claim with its evidence."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from microtome.errors import UsageError
from microtome.evidence._arrays import share
from microtome.evidence._table import checked_table
from microtome.evidence.estimate import Estimate, number_of
from microtome.evidence.null import Null
from microtome.evidence.provenance import Provenance

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Finding:
    """A claim in one sentence, its estimate, its nulls, controls, a tidy table, and where it comes from.

    Parameters
    ----------
    claim : str
        One sentence that can be wrong.
    estimate : Estimate or None, default None
        The measured effect with its interval.
    nulls : sequence of Null, default ()
        What chance gives. The claim must beat all of them.
    controls : mapping of str to (Estimate or float), default {}
        Numbers to read beside the estimate: a baseline, the matched random set, the upper bound.
    table : DataFrame or None, default None
        Tidy rows (layer, unit, score, q, ...). Text, integer, float and bool columns; nothing missing.
    provenance : Provenance, default Provenance()
        Hashes, seed, versions, cost.
    alpha : float, default 0.05
        Level at which each null is tested.
    notes : sequence of str, default ()
        What a reader must know: what was skipped, what is doubtful.
    hypothesis : str, default ""
        Seal of the registered `Hypothesis` that this finding tests.

    Raises
    ------
    UsageError, NonFinite
        When a field is of the wrong kind, or a number is NaN or infinite.

    Notes
    -----
    Null: a claim with one null is supported at rate alpha when nothing is there; with several nulls, at most at alpha.
    Misleads when the claim was chosen after seeing the table; register a `Hypothesis` first, or correct over the table.

    Examples
    --------
    >>> Finding("Unit 3 tells verbs apart.", nulls=[Null("labels shuffled", [0.5] * 99, 0.9)]).verdict
    'supported'
    >>> Finding("Unit 3 tells verbs apart.").verdict
    'undetermined'
    """

    claim: str
    estimate: Estimate | None = None
    nulls: tuple[Null, ...] = ()
    controls: Mapping[str, Estimate | float] = field(default_factory=dict)
    table: "pd.DataFrame | None" = None
    provenance: Provenance = field(default_factory=Provenance)
    alpha: float = 0.05
    notes: tuple[str, ...] = ()
    hypothesis: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.claim, str) or not self.claim.strip():
            raise UsageError(f"claim must be one sentence, got {self.claim!r}.")
        if self.estimate is not None and not isinstance(self.estimate, Estimate):
            raise UsageError(f"estimate must be an Estimate, got {type(self.estimate).__name__}. See bootstrap().")
        if not isinstance(self.provenance, Provenance):
            raise UsageError(f"provenance must be a Provenance, got {type(self.provenance).__name__}.")
        if not isinstance(self.hypothesis, str):
            raise UsageError(f"hypothesis must be a seal (text), got {type(self.hypothesis).__name__}.")
        object.__setattr__(self, "nulls", _all_of(Null, self.nulls, "nulls"))
        object.__setattr__(self, "notes", _all_of(str, self.notes, "notes"))
        object.__setattr__(self, "controls", _controls(self.controls))
        object.__setattr__(self, "alpha", share(self.alpha, "alpha"))
        object.__setattr__(self, "table", checked_table(self.table))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Finding) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]

    @property
    def verdict(self) -> str:
        """"supported", "not supported" ("refuted" when the claim was registered), or "undetermined" without a null."""
        if not self.nulls:
            return "undetermined"
        if all(null.p <= self.alpha for null in self.nulls):
            return "supported"
        return "refuted" if self.hypothesis else "not supported"

    @property
    def reason(self) -> str:
        """Why the verdict is what it is, in one sentence."""
        if not self.nulls:
            return (
                "No null was run, so chance is not excluded: compare with twins of the network (weights re-drawn or "
                "shuffled), shuffled labels, or matched random units."
            )
        missed = [null for null in self.nulls if null.p > self.alpha]
        if not missed:
            return f"Every null is beaten at alpha {self.alpha:g}: " + ", ".join(map(_brief, self.nulls)) + "."
        text = f"Not beaten at alpha {self.alpha:g}: " + ", ".join(map(_brief, missed)) + "."
        few = [null for null in missed if null.smallest_p > self.alpha]
        return text + "".join(f" With {n.draws} draws '{n.kind}' cannot give p below {n.smallest_p:.3g}." for n in few)

    def to_json(self) -> str:
        """Canonical JSON text: sorted keys, no NaN, every float exact; the same finding gives the same bytes."""
        from microtome.evidence._codec import encode

        return json.dumps(encode(self), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Finding":
        """The finding that `to_json` wrote.

        Raises
        ------
        FormatError
            When the text is not such a finding: damaged, unknown fields, NaN, or a later layout.
        """
        from microtome.evidence._codec import decode, parse

        return decode(parse(text))

    def plot(self) -> Any:
        """A plotly figure: each null's draws, the observed value, and the estimate with its interval.

        Raises
        ------
        MissingExtra
            When plotly is not installed.
        """
        from microtome.evidence.plot import figure

        return figure(self)

    def __str__(self) -> str:
        from microtome.evidence.render import terminal

        return terminal(self)

    def _repr_html_(self) -> str:
        from microtome.evidence.render import html

        return html(self)


def _brief(null: Null) -> str:
    return f"{null.kind} p = {null.p:.3g}"


def _all_of(kind: type, values: Any, name: str) -> tuple:
    if isinstance(values, kind):  # one null or one note, given without brackets
        return (values,)
    values = tuple(values)
    wrong = [type(v).__name__ for v in values if not isinstance(v, kind)]
    if wrong:
        raise UsageError(f"{name} must hold {kind.__name__} objects, found {sorted(set(wrong))}.")
    return values


def _controls(controls: Any) -> dict[str, Estimate | float]:
    if not isinstance(controls, Mapping) or not all(isinstance(name, str) for name in controls):
        raise UsageError(f"controls must map names to an Estimate or a number, got {controls!r}.")
    return {k: v if isinstance(v, Estimate) else number_of(v, f"control '{k}'") for k, v in controls.items()}

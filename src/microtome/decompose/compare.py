"""One table for any list of bases: what each explains, keeps, tells and repeats, beside its nulls."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from microtome.decompose.data import one_site, survey
from microtome.decompose.judge import mmcs, reconstruction, stability
from microtome.decompose.probing import sparse_probing
from microtome.decompose.random_basis import random_basis
from microtome.decompose.random_dictionary import random_dictionary
from microtome.decompose.recovered import Recovered
from microtome.errors import FormatError, SubjectMismatch, UsageError
from microtome.evidence import Provenance

if TYPE_CHECKING:
    import pandas as pd

#: What a row of the table is.
KINDS = ("basis", "random directions", "re-drawn network")
Fit = Callable[[Any, int], Any]


@dataclass(frozen=True, eq=False)
class Comparison:
    """The rows of a comparison. A figure that was not asked, or that does not exist for a row, is NaN (null in JSON).

    Attributes
    ----------
    rows : DataFrame
        basis; kind (see `KINDS`); dim; fvu, l0, dead, shrinkage; and, where asked, ce_increase and loss_recovered,
        probe_1 and probe_5 (mean AUROC over the labels), stability (mean max cosine over seeds).
    provenance : Provenance
    """

    rows: "pd.DataFrame"
    provenance: Provenance = field(default_factory=Provenance)

    def table(self) -> "pd.DataFrame":
        """A copy of the rows."""
        return self.rows.copy()

    def to_json(self) -> str:
        """One JSON object; NaN is null."""
        return json.dumps({"columns": list(self.rows.columns), "rows": self.records()}, sort_keys=True, allow_nan=False)

    def records(self) -> list[dict[str, Any]]:
        """The rows as objects of plain values."""
        plain = self.rows.astype(object).where(self.rows.notna(), None)
        return [{k: v.item() if isinstance(v, np.generic) else v for k, v in row.items()} for row in plain.to_dict("records")]

    @classmethod
    def from_json(cls, text: str) -> "Comparison":
        """The comparison that `to_json` wrote (its provenance is not kept).

        Raises
        ------
        FormatError
            When the text is none.
        """
        import pandas as pd

        from microtome.io import parse_json

        found = parse_json(text.encode())
        if not isinstance(found, dict) or not {"columns", "rows"} <= set(found):
            raise FormatError("this is no comparison: an object with 'columns' and 'rows' is expected.")
        return cls(pd.DataFrame(found["rows"], columns=found["columns"]))

    def __repr__(self) -> str:
        return self.rows.to_string(index=False, float_format=lambda v: f"{v:.4g}", na_rep="-")

    def _repr_html_(self) -> str:
        return self.rows.to_html(index=False, float_format=lambda v: f"{v:.4g}", na_rep="-", escape=True)


def compare(
    recording: Any, bases: Mapping[str, Any] | Sequence[Any], *, subject: Any = None, inputs: Any = None,
    labels: Sequence[str] | None = None, twin: Any = None, seeds: Sequence[int] = (0, 1), seed: int = 0,
) -> Comparison:  # fmt: skip
    """Score a list of bases on one recording, with the nulls of each beside it.

    Parameters
    ----------
    recording : Recording
        One site; better rows that the bases were not fitted on.
    bases : mapping of str to (Basis or callable), or sequence of Basis
        A callable ``fit(recording, seed) -> Basis`` is fitted here, once per seed of `seeds`: only such a basis has a
        stability, and a row for the re-drawn network.
    subject, inputs : Subject and inputs or texts, optional
        Adds what each basis costs the network's loss (`Recovered`).
    labels : sequence of str, optional
        Properties of the recording to probe for (`probing.sparse_probing` with k = 1 and 5). Default: none.
    twin : Recording, optional
        The same inputs through a twin of the subject with re-drawn weights (``subject.twin()``).
    seeds : sequence of int
        Of fits. Default (0, 1).
    seed : int
        Of the split of samples for probing, and of random directions. Default 0.

    Returns
    -------
    Comparison
        A row per basis, and under it its nulls: random directions of the same number (and k), and the re-drawn network.

    Raises
    ------
    UsageError
        When there is no basis, or `inputs` without `subject`.
    SubjectMismatch
        When a basis belongs to another site.

    Notes
    -----
    Null: the rows of kind "random directions" and "re-drawn network". A feature story that they tell as well is no story.
    Misleads when bases of different l0 are ranked by fvu: compare at equal l0.

    Examples
    --------
    >>> import torch
    >>> from microtome.decompose import pca
    >>> from microtome.subject.recording import Recording
    >>> x = torch.randn(200, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor([9.0, 5, 1, 1, 1, 1])
    >>> found = compare(Recording.of(x, site="s"), {"pca": lambda r, seed: pca(r, components=2)})
    >>> found.table()[["basis", "kind"]].values.tolist()
    [['pca', 'basis'], ['pca', 'random directions']]
    """
    site, of = one_site(recording)
    about = survey(recording)
    if (subject is None) != (inputs is None):
        raise UsageError("what a basis costs the loss needs both a subject and inputs; give both or neither.")
    if isinstance(bases, Mapping):
        named = dict(bases)
    else:
        named = {getattr(b, "name", "") or f"basis {i}": b for i, b in enumerate(bases)}
    if not named or len(named) < len(bases):
        raise UsageError("give at least one basis, each with a name of its own: compare(recording, {'name': basis, ...}).")
    score = _Score(labels or (), None if subject is None else Recovered(subject, inputs), seed)
    rows = []
    for name, given in named.items():
        fits = [given(recording, s) for s in seeds] if _is_fit(given) else [given]
        if hasattr(fits[0], "writes"):
            raise UsageError(f"'{name}' writes another site than it reads: score it with judge.reconstruction(target=...).")
        if fits[0].site != site:
            raise SubjectMismatch(f"basis '{name}' belongs to '{fits[0].site}', the recording holds '{site}'.")
        repeated = stability(fits) if len(fits) > 1 and fits[0].directions is not None else float("nan")
        rows.append({"basis": name, "kind": KINDS[0], **score(recording, fits[0]), "stability": repeated})
        drawn = [matched(recording, fits[0], s) for s in (seed, seed + 1)]
        rows.append({"basis": name, "kind": KINDS[1], **score(recording, drawn[0]),
                     "stability": mmcs(drawn[1].directions, drawn[0].directions)})  # fmt: skip
        if twin is not None and _is_fit(given):
            again = [given(twin, s) for s in seeds]
            same = stability(again) if len(again) > 1 and again[0].directions is not None else float("nan")
            rows.append({"basis": name, "kind": KINDS[2], **score(twin, again[0], network=False), "stability": same})
    return Comparison(_frame(rows), Provenance(subject=of, data=about.site, seed=seed))


def matched(recording: Any, basis: Any, seed: int) -> Any:
    """Random directions of the same number as a basis has; with as many active per row where it keeps k of them."""
    k = getattr(basis, "k", None)
    if k is None and basis.dim > survey(recording).width:
        k = max(1, min(basis.dim, round(reconstruction(recording, basis)["l0"])))
    if k is None:
        return random_basis(recording, components=basis.dim, seed=seed)
    return random_dictionary(recording, latents=basis.dim, k=int(k), seed=seed)


class _Score:
    """The figures of one basis on one recording."""

    def __init__(self, labels: Sequence[str], recovered: Recovered | None, seed: int) -> None:
        self.labels, self.recovered, self.seed = list(labels), recovered, seed

    def __call__(self, recording: Any, basis: Any, *, network: bool = True) -> dict[str, float]:
        out: dict[str, float] = {"dim": basis.dim, **reconstruction(recording, basis)}
        if self.recovered is not None and network:
            out |= {name.removeprefix("b/"): value for name, value in self.recovered({"b": basis}).items()}
        for k in (1, 5):
            if self.labels and k <= basis.dim:
                found = [sparse_probing(recording, basis, name, k=k, seed=self.seed) for name in self.labels]
                out[f"probe_{k}"] = float(np.mean(found))
        return out


def _is_fit(given: Any) -> bool:
    """Whether it is still to be fitted; dictionaries can be called too."""
    return callable(given) and not hasattr(given, "encode")


def _frame(rows: list[dict[str, Any]]) -> "pd.DataFrame":
    import pandas as pd

    order = ["basis", "kind", "dim", "fvu", "l0", "dead", "shrinkage", "ce_increase", "loss_recovered", "probe_1", "probe_5",
             "stability"]  # fmt: skip
    frame = pd.DataFrame(rows)
    return frame[[c for c in order if c in frame.columns and frame[c].notna().any()]]

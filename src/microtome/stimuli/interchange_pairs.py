"""Interchange interventions as data: base inputs, a source for each variable, and the label that should come out.

`Interchanges` is what alignments of causal variables are fitted on and judged by; `mt.stimuli.interchanges` draws them.
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.rng import rng
from microtome.stimuli.fingerprint import fingerprint
from microtome.stimuli.rows import row_indices, take

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Interchanges:
    """Base inputs, one source per variable, and the counterfactual label when the chosen variables come from their sources.

    Parameters
    ----------
    name : str
    base : list of str, or Tensor [n, ...]
    sources : dict of variable -> list of str or Tensor [n, ...]
        Like `base`, pair by pair. A source that is not chosen is not used.
    labels : LongTensor [n]
        Class or token id that the causal model gives under the interchange.
    before : LongTensor [n]
        The same without the interchange.
    chosen : dict of variable -> BoolTensor [n]
        Which variables are interchanged in each pair; default all.
    groups : list of int
        Pairs with one number share an entity: resampled and split together. Default: each its own.
    kinds : list of str
        What each pair asks (the attribute queried); empty where there is one question.

    Raises
    ------
    ShapeError, UsageError
        Fields of different length; a variable without source.
    Examples
    --------
    >>> import torch
    >>> base, source = torch.zeros(4, 2), torch.ones(4, 2)
    >>> pairs = Interchanges("x", base, {"x": source}, torch.tensor([1, 1, 0, 0]), torch.tensor([0, 0, 0, 0]))
    >>> len(pairs), pairs.variables, round(float(pairs.changed.float().mean()), 2)
    (4, ['x'], 0.5)
    """

    name: str
    base: "list[str] | Tensor"
    sources: "dict[str, list[str] | Tensor]"
    labels: "Tensor"
    before: "Tensor"
    chosen: "dict[str, Tensor]" = field(default_factory=dict)
    groups: list[int] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        import torch

        n = len(self.base)
        if not self.sources:
            raise UsageError(f"interchanges {self.name!r}: no variable has sources.")
        if unknown := set(self.chosen) - set(self.sources):
            raise UsageError(f"interchanges {self.name!r}: {sorted(unknown)} are chosen but have no sources.")
        full = {v: self.chosen.get(v, torch.ones(n, dtype=torch.bool)) for v in self.sources}
        object.__setattr__(self, "chosen", full)
        if not self.groups:
            object.__setattr__(self, "groups", list(range(n)))
        lengths = {"labels": self.labels, "before": self.before, "groups": self.groups, **self.sources}
        lengths |= {f"chosen[{v}]": c for v, c in full.items()} | ({"kinds": self.kinds} if self.kinds else {})
        for what, values in lengths.items():
            if len(values) != n:
                raise ShapeError(f"interchanges {self.name!r}: {n} base inputs but {len(values)} of {what}.")
        for what in ("labels", "before"):
            values = getattr(self, what)
            if values.is_floating_point() or values.ndim != 1:
                raise UsageError(f"interchanges {self.name!r}: {what} must be class or token ids [n], got {values.dtype}.")

    @property
    def variables(self) -> list[str]:
        """Names of the variables, in the order of their sources."""
        return list(self.sources)

    @property
    def changed(self) -> "Tensor":
        """Pairs whose answer the interchange changes, bool [n]."""
        return self.labels != self.before

    @property
    def majority(self) -> float:
        """Share of the most frequent label: what a constant answer would score."""
        return float(np.unique(np.asarray(self.labels), return_counts=True)[1].max() / len(self))

    def require_changed(self) -> None:
        """Refuse pairs of which none changes the answer: every map would pass by doing nothing.

        Raises
        ------
        Degenerate
        """
        if not bool(self.changed.any()):
            raise Degenerate(
                f"interchanges {self.name!r}: no counterfactual differs from the base answer, so doing nothing would score "
                "1. Draw pairs whose sources take another value: mt.stimuli.interchanges balances them."
            )

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, key: Any) -> "Interchanges":
        """The chosen pairs (slice, indices or boolean mask)."""
        rows = row_indices(key, len(self), f"interchanges {self.name!r}")
        return replace(
            self, **{what: take(getattr(self, what), rows) for what in ("base", "labels", "before", "groups")},
            sources={v: take(s, rows) for v, s in self.sources.items()},
            chosen={v: take(c, rows) for v, c in self.chosen.items()}, kinds=take(self.kinds, rows) if self.kinds else [],
        )  # fmt: skip

    def split(self, seed: int = 0, share: float = 0.5) -> "tuple[Interchanges, Interchanges]":
        """Two disjoint parts, the first with about `share` of the groups; no group is in both."""
        kinds = np.unique(np.asarray(self.groups))
        if len(kinds) < 2 or not 0 < share < 1:
            raise Degenerate(f"interchanges {self.name!r}: {len(kinds)} groups cannot be split into shares of {share}.")
        order = rng(seed, "interchanges split", self.name).permutation(kinds)
        first = np.isin(self.groups, order[: min(max(round(share * len(kinds)), 1), len(kinds) - 1)])
        return self[first], self[~first]

    def shuffled(self, seed: int = 0) -> "Interchanges":
        """The same inputs with labels dealt out anew: a hypothesis that is about nothing."""
        import torch

        order = torch.from_numpy(rng(seed, "interchanges shuffled", self.name).permutation(len(self)))
        return replace(self, name=f"{self.name} (labels shuffled)", labels=self.labels[order])

    def fingerprint(self) -> str:
        """Hash of all fields."""
        chosen = {v: c.to(dtype=self.labels.dtype) for v, c in self.chosen.items()}
        return fingerprint(self.base, self.sources, self.labels, self.before, chosen, self.groups, self.kinds)

    def __repr__(self) -> str:
        share = float(self.changed.float().mean())
        return f"Interchanges({self.name!r}, {len(self)} pairs on {self.variables}, {share:.0%} change the answer)"

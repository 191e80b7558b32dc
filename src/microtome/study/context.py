"""What the stages of one study share: the material, recordings made once, and what the twins gave."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from microtome.evidence import Null
from microtome.study.material import Material


@dataclass
class Context:
    """Attributes
    ----------
    material : Material
    folder : path
        Of the study; recordings and bases are kept there.
    seed : int
    twins : int
        Randomised twins per null.
    observed : dict
        Headline statistics of the subject.
    draws : dict
        Statistic -> values of the twins.
    held : dict
        What one stage leaves to later ones (the dictionary, the chosen units, the circuit).
    """

    material: Material
    folder: Path
    seed: int = 0
    twins: int = 29
    observed: dict[str, float] = field(default_factory=dict)
    draws: dict[str, list[float]] = field(default_factory=dict)
    held: dict[str, Any] = field(default_factory=dict)

    @property
    def subject(self) -> Any:
        """The subject."""
        return self.material.subject

    @cached_property
    def neurons(self) -> Any:
        """Recording of the neuron sites, on disk in the study's folder."""
        return self._recorded("neurons", self.material.neurons)

    @cached_property
    def stream(self) -> Any:
        """Recording of the site for dictionary and probes."""
        return self._recorded("stream", [self.material.stream])[self.material.stream]

    def _recorded(self, name: str, sites: list[str]) -> Any:
        from microtome.study.headline import with_classes

        found = self.subject.record(
            self.material.stimuli, sites, positions=self.material.positions, to=self.folder / "recordings" / name
        )
        return with_classes(found, self.material.stimuli)

    def twin_null(self, statistic: str) -> tuple[Null, ...]:
        """The twins' null of one headline statistic; empty when the twins have not been run."""
        if statistic not in self.draws:
            return ()
        return (Null("twins with re-drawn weights", np.array(self.draws[statistic]), self.observed[statistic], "greater"),)


#: Rows kept in memory by the stages that look at all units at once.
ROWS = 12_000


def some_rows(recording: Any, rows: int, seed: int) -> Any:
    """At most `rows` rows: whole samples drawn at random, so that documents and contexts stay together."""
    from microtome.rng import rng

    if len(recording) <= rows:
        return recording
    sample = recording.index["sample"].to_numpy()
    order = rng(seed, "some rows").permutation(np.unique(sample))
    sizes = np.bincount(sample)[order].cumsum()
    return recording.select(np.flatnonzero(np.isin(sample, order[: max(2, int(np.searchsorted(sizes, rows)))])))

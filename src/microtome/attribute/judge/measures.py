"""The measures by name: what each judges, and which direction is better."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.imputers import Imputer, NoisyLinear
from microtome.attribute.judge.complexity import entropy, gini
from microtome.attribute.judge.curves import Curves, perturbation_curves, ranked
from microtome.attribute.judge.infidelity import infidelity
from microtome.attribute.judge.localisation import pointing_game, relevance_mass, relevance_rank
from microtome.attribute.judge.places import scores_on
from microtome.attribute.judge.randomisation import mprt, random_logit
from microtome.attribute.judge.robustness import Explain, local_lipschitz, max_sensitivity
from microtome.attribute.place import Baseline
from microtome.errors import UsageError


@dataclass(frozen=True, eq=False)
class Case:
    """One method on one task: what a measure may read. Curves are computed once, for all measures that read them."""

    subject: Any
    task: Any
    explain: Explain
    attribution: Attribution
    masks: Tensor | None = None
    at: str | None = None
    baseline: Baseline | Imputer = "mean"
    seed: int = 0

    @cached_property
    def curves(self) -> Curves:
        """Filled by the baseline."""
        return perturbation_curves(
            self.subject, self.task, self.attribution, baseline=self.baseline, at=self.at, seed=self.seed
        )

    @cached_property
    def smooth(self) -> Curves:
        """Filled as in ROAD."""
        return perturbation_curves(
            self.subject, self.task, self.attribution, baseline=NoisyLinear(), at=self.at, seed=self.seed
        )

    @cached_property
    def places(self) -> Tensor:
        """One number per place [n, places]."""
        return ranked(
            self.subject, self.task, self.attribution, baseline=0.0, at=self.at, metric=None, seed=self.seed
        )[1]  # fmt: skip

    def located(self, measure: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """A measure of the map against the masks."""
        if self.masks is None:
            raise UsageError("measures of localisation need masks=, true where the evidence lies [n, y, x].")
        scores = scores_on(self.attribution, list(self.masks.shape[1:]), "the masks")
        return measure(scores, self.masks.flatten(1))


@dataclass(frozen=True)
class Measure:
    """Attributes
    ----------
    name, family : str
    better : {"higher", "lower"}
    of : callable
        Case -> values [n].
    """

    name: str
    family: str
    better: str
    of: Callable[[Case], Tensor]


_ALL = (
    Measure("deletion", "faithfulness", "lower", lambda c: c.curves.deletion),
    Measure("insertion", "faithfulness", "higher", lambda c: c.curves.insertion),
    Measure("comprehensiveness", "faithfulness", "higher", lambda c: c.curves.comprehensiveness),
    Measure("sufficiency", "faithfulness", "lower", lambda c: c.curves.sufficiency),
    Measure("road", "faithfulness", "higher", lambda c: c.smooth.gap),
    Measure("infidelity", "faithfulness", "lower",
            lambda c: infidelity(c.subject, c.task, c.attribution, scaled=True, seed=c.seed)),
    Measure("max_sensitivity", "robustness", "lower",
            lambda c: max_sensitivity(c.subject, c.task, c.explain, seed=c.seed)),
    Measure("local_lipschitz", "robustness", "lower",
            lambda c: local_lipschitz(c.subject, c.task, c.explain, seed=c.seed)),
    Measure("relevance_mass", "localisation", "higher", lambda c: c.located(relevance_mass)),
    Measure("relevance_rank", "localisation", "higher", lambda c: c.located(relevance_rank)),
    Measure("pointing_game", "localisation", "higher", lambda c: c.located(pointing_game)),
    Measure("gini", "complexity", "higher", lambda c: gini(c.places)),
    Measure("entropy", "complexity", "lower", lambda c: entropy(c.places)),
    Measure("mprt", "randomisation", "lower",
            lambda c: mprt(c.subject, c.task, c.explain, seed=c.seed).last.abs()),
    Measure("random_logit", "randomisation", "lower",
            lambda c: random_logit(c.subject, c.task, c.explain, seed=c.seed).abs()),
)  # fmt: skip
#: Measures by name.
MEASURES: Mapping[str, Measure] = {m.name: m for m in _ALL}

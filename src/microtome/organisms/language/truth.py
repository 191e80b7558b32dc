"""What is known of the language organism: the world that it was trained on, in code."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from microtome.stimuli import language as world
from microtome.stimuli.language import facts, lexicon
from microtome.stimuli.stimuli import Stimuli
from microtome.stimuli.task import Task


@dataclass(frozen=True)
class LanguageTruth:
    """The ground truth of the language organism.

    Examples
    --------
    >>> truth = LanguageTruth()
    >>> truth.facts["city_country"]["rome"], "colour" in truth.properties, truth.task("ioi", 3).name
    ('italy', True, 'ioi')
    """

    figures: Mapping[str, Any] = field(default_factory=dict)
    """What it reached when it was made; ``figures["behaviours"][name]`` holds accuracy, mass and contrast."""

    @property
    def behaviours(self) -> dict[str, str]:
        """Behaviour -> what is asked, in one line."""
        return {name: behaviour.question for name, behaviour in world.BEHAVIOURS.items()}

    @property
    def deterministic(self) -> list[str]:
        """Behaviours with a task on which a perfect reader is always right."""
        return [name for name in self.tasks if world.BEHAVIOURS[name].deterministic]

    @property
    def tasks(self) -> list[str]:
        """Behaviours that have a task."""
        return world.tasks()

    @property
    def properties(self) -> list[str]:
        """Properties of words that the corpus marks: by class (a colour) and by context (the subject named again)."""
        return world.properties()

    @property
    def facts(self) -> dict[str, dict[str, str]]:
        """Relation -> entity -> answer, stored ones and those that take two hops."""
        return {relation: dict(table) for relation, (_, table) in {**facts.ONE_HOP, **facts.TWO_HOP}.items()}

    @property
    def held_out(self) -> tuple[str, ...]:
        """People about whom no training document said what they speak: two hops that can only be composed."""
        return facts.HELD_OUT

    @property
    def stereotypes(self) -> dict[str, float]:
        """Occupation -> share of "she" after it in the corpus."""
        return dict(lexicon.OCCUPATIONS)

    def task(self, name: str, n: int = 100, seed: int = 0) -> Task:
        """`n` prompts of the behaviour `name` with their counterfactuals."""
        return world.task(name, n, seed)

    def corpus(self, n: int = 1000, seed: int = 0) -> Stimuli:
        """`n` documents from the training distribution with the truth about every word."""
        return world.corpus(n, seed)

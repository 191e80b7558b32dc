"""The record that stands beside each method: what it answers, what it needs, what it may not claim.

A method is one public function decorated with `method`. The decorator only attaches the record; nothing is registered
globally. `microtome.methods.all_methods` finds the records by walking the rooms, and the method list, the docs pages and
the contract tests are generated from them.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from microtome.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

#: The questions a method can answer; each has one family of contract tests in `microtome.testing`.
QUESTIONS = ("decompose", "read", "search", "describe", "attribute", "trace", "compare", "distil", "evidence")
#: What a method can need. "extra:NAME" is allowed beside these.
NEEDS = ("recording", "subject", "task", "labels", "gradients", "tokens", "images", "basis", "values", "pipeline")


@dataclass(frozen=True)
class Paper:
    """Where a method comes from."""

    authors: str
    year: int
    title: str
    link: str

    def __str__(self) -> str:
        return f"{self.authors} ({self.year}). {self.title}. {self.link}"


@dataclass(frozen=True)
class Method:
    """The record of one method.

    Attributes
    ----------
    key : str
        Name in the method list; equals the function's name.
    question : str
        One of `QUESTIONS`: decides which contract tests apply.
    summary : str
        First line of the docstring.
    paper : Paper
        Source of the method.
    needs : tuple of str
        Members of `NEEDS`, or "extra:NAME".
    gives : str
        The noun it returns: Basis, Edit, Recording, Attribution, Circuit, Description, Finding...
    stochastic : bool
        Whether it takes a `seed`.
    cost : str
        How cost grows, e.g. "one forward, one backward", "O(rows * units)".
    claim : str
        The paper's claim in one sentence, as checked by its replication.
    notion : str
        Which interpretability it offers (Lipton 2018): "post-hoc", "decomposability", "simulatability", ...
    serves : str
        The desideratum served: trust, causality, transferability, informativeness, fairness.
    cannot_claim : str
        What a result of this method does not show.
    tiny : mapping
        Settings with which it runs in under two seconds in the contract tests.
    skips : mapping
        Contract check -> reason why it does not apply. Counted and committed.
    """

    key: str
    question: str
    summary: str
    paper: Paper
    needs: tuple[str, ...]
    gives: str
    stochastic: bool
    cost: str
    claim: str
    notion: str
    serves: str
    cannot_claim: str
    tiny: Mapping[str, Any] = field(default_factory=dict)
    skips: Mapping[str, str] = field(default_factory=dict)
    function: Callable[..., Any] | None = field(default=None, compare=False, repr=False)

    @property
    def room(self) -> str:
        """The room (package) where the method lives."""
        module = getattr(self.function, "__module__", "")
        return module.split(".")[1] if module.count(".") >= 1 else module

    @property
    def call(self) -> str:
        """How a user calls it, e.g. ``mt.decompose.pca``."""
        return f"mt.{self.room}.{self.key}"

    def card(self) -> dict[str, str]:
        """Which interpretability this method offers, and what it cannot claim (Lipton 2018)."""
        return {"method": self.key, "notion": self.notion, "serves": self.serves, "cannot_claim": self.cannot_claim}


def method(
    *,
    question: str,
    paper: Paper,
    needs: tuple[str, ...],
    gives: str,
    stochastic: bool,
    cost: str,
    claim: str,
    notion: str,
    serves: str,
    cannot_claim: str,
    tiny: Mapping[str, Any] | None = None,
    skips: Mapping[str, str] | None = None,
) -> Callable[[F], F]:
    """Attach a `Method` record to a public function. The key is the function's name.

    Raises
    ------
    UsageError
        When a field is outside its vocabulary, or `stochastic` disagrees with the signature.
    """
    if question not in QUESTIONS:
        raise UsageError(f"question must be one of {QUESTIONS}, got {question!r}.")
    unknown = [n for n in needs if n not in NEEDS and not n.startswith("extra:")]
    if unknown:
        raise UsageError(f"needs holds unknown words {unknown}; known: {NEEDS} or 'extra:NAME'.")

    def attach(function: F) -> F:
        name = getattr(function, "__name__", "")
        if stochastic != ("seed" in inspect.signature(function).parameters):
            raise UsageError(f"{name}: stochastic={stochastic} but the signature says otherwise about 'seed'.")
        summary = (inspect.getdoc(function) or "").partition("\n")[0]
        function.method = Method(  # type: ignore[attr-defined]
            key=name, question=question, summary=summary, paper=paper, needs=needs, gives=gives, stochastic=stochastic,
            cost=cost, claim=claim, notion=notion, serves=serves, cannot_claim=cannot_claim,
            tiny=dict(tiny or {}), skips=dict(skips or {}), function=function,
        )
        return function

    return attach

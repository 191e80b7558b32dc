"""What a rule and a composite are: values that say how relevance passes backwards through each function."""

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from microtome.attribute.rules.calls import KINDS, Call
from microtome.errors import UsageError, nearest

Form = Literal["relevance", "gradient"]
#: Added to denominators that a rule does not stabilise itself.
TINY = 1e-10


def stabilised(z: Tensor, epsilon: float) -> Tensor:
    """z moved away from 0 by epsilon, with the sign that it has (0 counts as positive)."""
    return z + torch.where(z < 0, -epsilon, epsilon)


@runtime_checkable
class Rule(Protocol):
    """How a signal passes backwards through a call. The forward is never touched.

    `form` says what `back` takes and gives: "relevance" (R at the output -> R at each carrying input) or "gradient"
    (the gradient that stands for it: R = x * g). The engine converts where the composite speaks the other. A rule that
    does not look at `out` may say ``reads_output = False``, which saves a forward where a later call overwrote it.
    """

    form: ClassVar[Form]

    def back(self, call: Call, inputs: Sequence[Tensor], out: Tensor, signal: Tensor) -> Sequence[Tensor]: ...


@dataclass(frozen=True)
class Plain:
    """The exact vector-Jacobian product: the gradient; in terms of relevance, shares in proportion to contributions."""

    form: ClassVar[Form] = "gradient"

    def back(self, call: Call, inputs: Sequence[Tensor], out: Tensor, signal: Tensor) -> list[Tensor]:
        return call.vjp(inputs, signal)


@dataclass(frozen=True)
class Match:
    """Which calls a rule is for: ``[first:]kind[@path]``.

    `kind` is "linear", "conv", "activation", ... ("*" = any), `path` a shell pattern of module paths; "first:" restricts it
    to the first linear or convolutional call that relevance reaches.

    Examples
    --------
    >>> Match.parse("conv@features.*")
    Match(kind='conv', path='features.*', first=False)
    """

    kind: str
    path: str = "*"
    first: bool = False

    @classmethod
    def parse(cls, text: str) -> "Match":
        """The matcher that a string names."""
        head, _, path = text.partition("@")
        first, kind = head.startswith("first:"), head.removeprefix("first:")
        known = {*KINDS.values(), "other", "*"}
        if kind not in known:
            raise UsageError(f"no kind of function {kind!r}; known: {sorted(known)}.{nearest(kind, known)}")
        return cls(kind, path or "*", first)

    def fits(self, call: Call, first: bool) -> bool:
        """Whether the rule applies to this call."""
        kind = self.kind in ("*", call.kind)
        return kind and (first or not self.first) and (self.path == "*" or fnmatch.fnmatchcase(call.path, self.path))


@dataclass(frozen=True)
class Composite:
    """An ordered list of (matcher, rule); the first that fits decides. A value: compare it, print it, change it by `but`.

    Attributes
    ----------
    name : str
    entries : tuple of (Match, Rule)
    form : {"relevance", "gradient"}
        What travels backwards. "relevance" is exact where inputs are 0 (pixels, dead units) and calls without a rule share
        in proportion to contributions; "gradient" leaves calls without a rule to autograd.
    fold : bool
        Merge batch norms into the affine call before them, in the backward pass only.
    audit : bool
        Account for relevance lost per module.

    Examples
    --------
    >>> from microtome.attribute.rules import EPSILON_PLUS, Gamma
    >>> mine = EPSILON_PLUS.but(("conv@0", Gamma(0.5)))
    >>> mine.entries[0]
    (Match(kind='conv', path='0', first=False), Gamma(gamma=0.5, epsilon=1e-06))
    """

    name: str
    entries: tuple[tuple[Match, Rule], ...] = field(default=())
    form: Form = "relevance"
    fold: bool = True
    audit: bool = True

    @classmethod
    def of(cls, name: str, *entries: tuple[str, Rule], form: Form = "relevance", audit: bool = True) -> "Composite":
        """From pairs of a matcher's text and a rule."""
        return cls(name, _parsed(entries), form, audit=audit)

    def but(self, *entries: tuple[str, Rule]) -> "Composite":
        """The same with other rules tried first."""
        return Composite(f"{self.name}, changed", (*_parsed(entries), *self.entries), self.form, self.fold, self.audit)

    def rule_for(self, call: Call, first: bool) -> Rule | None:
        """The first rule that fits, or None."""
        return next((rule for match, rule in self.entries if match.fits(call, first)), None)


def _parsed(entries: Sequence[tuple[str, Rule]]) -> tuple[tuple[Match, Rule], ...]:
    for _, rule in entries:
        if isinstance(rule, type) or not isinstance(rule, Rule):
            raise UsageError(f"a rule needs a form and a method back(call, inputs, out, signal), got {rule!r}.")
    return tuple((Match.parse(text), rule) for text, rule in entries)

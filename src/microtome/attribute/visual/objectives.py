"""What a picture is to raise: a class, a channel, a direction of any basis, or a weighted sum of these."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from microtome.errors import SiteError, UsageError
from microtome.subject.basis import Basis, require_same
from microtome.subject.unit import Unit

#: One place [..], the middle one, or None for the mean over places.
Place = Sequence[int] | Literal["centre"] | None


@dataclass(frozen=True)
class Term:
    """One number per picture, read from a site.

    Attributes
    ----------
    site : str
        "" is the output of the network.
    read : callable
        Values [n, channels, *places] -> [n].
    name : str
    weight : float
    basis : Basis or None
        Whose coordinate it is.
    """

    site: str
    read: Callable[[Tensor], Tensor]
    name: str
    weight: float = 1.0
    basis: Basis | None = None


@dataclass(frozen=True)
class Objective:
    """A weighted sum of terms. Objectives add up, and can be scaled.

    Examples
    --------
    >>> print(class_logit(3) - 0.5 * channel("conv2", 7))
    class 3 - 0.5 conv2[7]
    """

    terms: tuple[Term, ...]

    def __call__(self, seen: Mapping[str, Tensor]) -> Tensor:
        """Values [n] from the values of each site, as [n, channels, *places]."""
        parts = [term.weight * term.read(seen[term.site]) for term in self.terms]
        return torch.stack(parts).sum(0)

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites that are read, "" for the output."""
        return tuple(dict.fromkeys(term.site for term in self.terms))

    def __add__(self, other: "Objective") -> "Objective":
        return Objective(self.terms + other.terms)

    def __mul__(self, factor: float) -> "Objective":
        return Objective(tuple(replace(term, weight=term.weight * factor) for term in self.terms))

    __rmul__ = __mul__

    def __neg__(self) -> "Objective":
        return self * -1.0

    def __sub__(self, other: "Objective") -> "Objective":
        return self + -other

    def __str__(self) -> str:
        text = ""
        for term in self.terms:
            size = "" if abs(term.weight) == 1 else f"{abs(term.weight):g} "
            sign = "-" if term.weight < 0 else "+"
            text += f" {sign} {size}{term.name}" if text else f"{'-' * (sign == '-')}{size}{term.name}"
        return text


def class_logit(index: int) -> Objective:
    """A column of the network's output."""
    return Objective((Term("", _column(index, None, "the output"), f"class {index}"),))


def channel(site: str, index: int, place: Place = None) -> Objective:
    """A unit of a site: its mean over places, or its value at one of them."""
    return Objective((Term(site, _column(index, place, site), f"{site}[{index}]{_at(place)}"),))


def direction(basis: Basis, index: int, place: Place = None) -> Objective:
    """A coordinate of any basis at its site."""
    if not 0 <= index < basis.dim:
        raise UsageError(f"coordinate {index} does not exist: {basis.name} has {basis.dim} (0..{basis.dim - 1}).")
    column = _column(index, place, basis.name)

    def read(x: Tensor) -> Tensor:
        return column(basis.encode(x.movedim(1, -1)).movedim(-1, 1))

    return Objective((Term(basis.site, read, f"{basis.site}/{basis.name}[{index}]{_at(place)}", basis=basis),))


def diversity(site: str) -> Objective:
    """How unlike the pictures of a batch are: 1 less the mean cosine of their channels' products (Gram matrices)."""

    def read(x: Tensor) -> Tensor:
        if len(x) < 2:
            raise UsageError("diversity compares the pictures of a batch: ask for two starts or more.")
        rows = x.flatten(2) if x.ndim > 2 else x[..., None]
        gram = torch.nn.functional.normalize((rows @ rows.mT).flatten(1), dim=1)
        like = gram @ gram.T
        return 1 - (like.sum(1) - like.diagonal()) / (len(x) - 1)

    return Objective((Term(site, read, f"diversity at {site}"),))


def as_objective(target: Any) -> Objective:
    """A class (int), a unit ("site[3]" or Unit), a (basis, index) or an Objective, as an Objective.

    Raises
    ------
    UsageError
        For anything else, and for a unit of a basis: its coordinates are only known to the basis.
    """
    if isinstance(target, Objective):
        return target
    if isinstance(target, int) and not isinstance(target, bool):
        return class_logit(target)
    if isinstance(target, tuple) and len(target) == 2 and isinstance(target[0], Basis) and isinstance(target[1], int):
        return direction(target[0], target[1])
    unit = Unit.parse(target) if isinstance(target, str) else target
    if not isinstance(unit, Unit):
        raise UsageError(f"target must be a class, 'site[index]', (basis, index) or an Objective, got {target!r}.")
    if unit.basis:
        raise UsageError(f"{unit} is a coordinate of a basis: give (basis, {unit.index}).")
    return channel(unit.site, unit.index)


def belongs(objective: Objective, subject: Any) -> Objective:
    """The objective itself, if its bases were fitted on this subject or on none.

    Raises
    ------
    SubjectMismatch
    """
    for basis in (term.basis for term in objective.terms if term.basis is not None):
        require_same(basis, site=getattr(basis, "writes", basis.site), subject=subject.fingerprint())
    return objective


def _column(index: int, place: Place, where: str) -> Callable[[Tensor], Tensor]:
    def read(x: Tensor) -> Tensor:
        if not 0 <= index < x.shape[1]:
            raise SiteError(f"unit {index} does not exist at {where}: it has {x.shape[1]} (0..{x.shape[1] - 1}).")
        values = x[:, index]
        if place is None:
            return values.flatten(1).mean(1) if values.ndim > 1 else values
        at = tuple(size // 2 for size in values.shape[1:]) if place == "centre" else tuple(place)
        if len(at) != values.ndim - 1 or any(not 0 <= i < s for i, s in zip(at, values.shape[1:], strict=True)):
            raise SiteError(f"place {at} does not exist at {where}: its places are {tuple(values.shape[1:])}.")
        return values[(slice(None), *at)]

    return read


def _at(place: Place) -> str:
    return "" if place is None else f" at {place if isinstance(place, str) else tuple(place)}"

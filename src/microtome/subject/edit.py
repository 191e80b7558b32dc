"""Edits: changes at a site, as values. `apply.py` carries them out.

An edit says *where* (site, positions, heads, units, or coordinates of a basis) and *what* (set, add, scale, clamp, call).
Through a basis, what the basis does not explain stays: x' = x + decode(z') - decode(z).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from microtome.errors import UsageError
from microtome.subject.frame import Position

if TYPE_CHECKING:
    from microtome.subject.basis import Basis
    from microtome.subject.run import Run

Op = Literal["set", "add", "scale", "clamp", "call", "mean", "resample", "clean", "coordinates"]
Index = int | Sequence[int] | None


@dataclass(frozen=True, eq=False)
class Edit:
    """One change at one site; made by `ablate`, `patch`, `steer`, `scale`, `clamp`, `swap`, `replace`, `freeze`.

    Attributes
    ----------
    site : str
        Where.
    op : str
        "set", "add", "scale", "clamp", "call"; or "mean", "resample", "clean", which a run turns into "set" with values
        that it measures on the unedited inputs first ("coordinates" where they are coordinates of the basis).
    value : Tensor, float, tuple, callable or None
        Scalar; features; [n, *features] per example; or [n, length, *features] like the site itself.
    position, head, unit : index
        Which positions, heads, and units (of the site, or coordinates of `basis`); None = all.
    basis : Basis or None
    seed : int
        For "resample".
    """

    site: str
    op: Op
    value: Any = None
    position: Position = None
    head: Index = None
    unit: Index = None
    basis: "Basis | None" = None
    seed: int = 0

    def rows(self, part: slice, total: int) -> "Edit":
        """The same edit for a slice of the examples."""
        value, position = self.value, self.position
        if isinstance(value, Tensor) and value.ndim >= 2 and value.shape[0] == total:
            value = value[part]
        if isinstance(position, Tensor):
            position = position[part]  # pyright: ignore[reportOptionalSubscript]
        return replace(self, value=value, position=position)

    def __str__(self) -> str:
        where = [f"{k}={_short(v)}" for k, v in (("position", self.position), ("head", self.head), ("unit", self.unit))
                 if v is not None]
        basis = f" in {type(self.basis).__name__}" if self.basis is not None else ""
        return f"{self.op} {self.site}[{', '.join(where)}]{basis}"

    def __repr__(self) -> str:
        return f"Edit({self})"


def _short(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"tensor{list(value.shape)}"
    return str(value)


def _index(name: str, value: Index) -> Index:
    listed = value.tolist() if hasattr(value, "tolist") else value  # tensors and arrays
    if listed is None or _whole(listed):
        return listed
    if isinstance(listed, (str, bool)) or not isinstance(listed, (Sequence, range)) or not all(map(_whole, listed)):
        raise UsageError(f"{name} must be None, an int or a list of ints, got {value!r}.")
    listed = [int(v) for v in listed]
    if not listed:
        raise UsageError(f"{name} is empty: the edit would address no cell. Use None for all.")
    return listed


def _whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def ablate(
    site: str,
    *,
    how: Literal["mean", "zero", "resample"] = "mean",
    value: Tensor | float | None = None,
    position: Position = None,
    head: Index = None,
    unit: Index = None,
    basis: "Basis | None" = None,
    seed: int = 0,
) -> Edit:
    """Remove the information of a site: set it to its mean, to zero, or to another example's value.

    Parameters
    ----------
    site : str
        Site name.
    how : {"mean", "zero", "resample"}
        "mean" over the examples (and real positions) of the batch unless `value` is given; "resample" = the value of
        another example of the batch (a derangement drawn with `seed`).
    value : Tensor or float, optional
        The reference to set instead, e.g. the mean over a reference set: scalar, features, or like the site.
    position, head, unit : optional
        Where; None = everywhere.
    basis : Basis, optional
        Ablate coordinates `unit` of this basis and keep the rest.
    seed : int
        For "resample".

    Returns
    -------
    Edit

    Notes
    -----
    Misleads when zero is far from what the network ever sees: prefer "mean" or "resample".
    """
    if how not in ("mean", "zero", "resample"):
        raise UsageError(f"how must be 'mean', 'zero' or 'resample', got {how!r}.")
    op: Op = "set" if value is not None or how == "zero" else how
    fill = value if value is not None else (0.0 if how == "zero" else None)
    return Edit(site, op, fill, position, _index("head", head), _index("unit", unit), basis, seed)


def patch(
    site: str,
    source: "Tensor | Run",
    *,
    position: Position = None,
    head: Index = None,
    unit: Index = None,
    basis: "Basis | None" = None,
) -> Edit:
    """Set a site to the value that it had in another run (activation patching).

    Parameters
    ----------
    site : str
    source : Tensor or Run
        Like the site: [n, length, ...features]; or a `Run` that recorded it. With `basis`, still values at the site (at
        the site that it reads, for a transcoder).
    position, head, unit, basis : optional
        Where; None = everywhere.

    Returns
    -------
    Edit
    """
    where = getattr(basis, "site", site) if hasattr(basis, "writes") else site
    value = source if isinstance(source, Tensor) else source[where]
    return Edit(site, "set", value, position, _index("head", head), _index("unit", unit), basis)


def swap(
    site: str, source: "Tensor | Run", *, basis: "Basis", unit: Index = None, position: Position = None
) -> Edit:
    """Interchange a subspace: coordinates `unit` of `basis` come from `source`, the rest stays (Geiger et al. 2023).

    x' = x + decode(z') - decode(z), with z'[unit] = encode(source)[unit].
    """
    return patch(site, source, position=position, unit=unit, basis=basis)


def steer(
    site: str, direction: Tensor, *, strength: float = 1.0, position: Position = None, head: Index = None
) -> Edit:
    """Add ``strength * direction`` to a site.

    Parameters
    ----------
    site : str
    direction : Tensor[units]
        Or [head, units] at head sites, or [units] with `head` given.
    strength : float
        Multiplies the direction as it is (it is not normalised).
    position, head : optional
        Where; None = everywhere.
    """
    return Edit(site, "add", direction * strength, position, _index("head", head))


def scale(
    site: str,
    factor: float,
    *,
    position: Position = None,
    head: Index = None,
    unit: Index = None,
    basis: "Basis | None" = None,
) -> Edit:
    """Multiply a site (or coordinates of a basis on it) by `factor`."""
    return Edit(site, "scale", float(factor), position, _index("head", head), _index("unit", unit), basis)


def clamp(
    site: str,
    *,
    low: float | None = None,
    high: float | None = None,
    position: Position = None,
    head: Index = None,
    unit: Index = None,
    basis: "Basis | None" = None,
) -> Edit:
    """Keep a site (or coordinates of a basis on it) within [low, high]; low = high sets a value."""
    if low is None and high is None:
        raise UsageError("clamp needs low, high or both.")
    return Edit(site, "clamp", (low, high), position, _index("head", head), _index("unit", unit), basis)


def replace_with(site: str, function: Callable[[Tensor], Tensor], *, position: Position = None) -> Edit:
    """Set a site to ``function(value)``: a transcoder in place of an MLP, or any module. Exported as ``mt.replace``."""
    if not callable(function):
        raise UsageError(f"replace needs a callable, got {type(function).__name__}.")
    return Edit(site, "call", function, position)


def freeze(site: str, source: "Tensor | Run | None" = None, *, head: Index = None) -> Edit:
    """Hold a site (an attention pattern, a norm, a gate) at its value in another run.

    `source` None = its value in the unedited run on the same inputs, measured by the run that applies the edit.
    """
    if source is None:
        return Edit(site, "clean", None, None, _index("head", head))
    return patch(site, source, head=head)


def derangement(n: int, seed: int) -> Tensor:
    """A permutation of n examples without fixed points (n >= 2), the same for the same seed."""
    from microtome.rng import rng

    if n < 2:
        raise UsageError("how='resample' needs at least two examples in the batch. Use 'mean' or 'zero'.")
    order = rng(seed, "derangement", n).permutation(n)
    result = torch.empty(n, dtype=torch.long)
    result[torch.from_numpy(order)] = torch.from_numpy(order).roll(1)
    return result

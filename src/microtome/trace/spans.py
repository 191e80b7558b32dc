"""Whole tokens as mediators: their residual stream at every layer, as later tokens see it.

A token's keys and values at each block are all that later tokens can know of it. Setting its residual stream before every
block replaces the token as context; tokens after it are computed anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from microtome.errors import SiteError
from microtome.subject.edit import Edit


@dataclass(frozen=True, order=True)
class Span:
    """The token that plays a role, at all layers; a node of `Effects`."""

    role: str
    site: str = "*.resid_pre"
    layer: int = -1
    head: None = None
    position: None = None
    unit: None = None

    @property
    def short(self) -> str:
        """The role."""
        return self.role

    def __str__(self) -> str:
        return self.role


def stream_sites(subject: Any) -> list[str]:
    """The residual stream before every block.

    Raises
    ------
    SiteError
        When the subject has no blocks.
    """
    found = [s.name for s in subject.sites("*resid_pre") if s.block is not None]
    if not found:
        raise SiteError(f"{subject.name} has no residual stream, so a token cannot be replaced at every layer.")
    return found


def set_tokens(values: Mapping[str, Tensor], positions: Sequence[Tensor]) -> list[Edit]:
    """Edits that hold tokens at `positions` (each [n]) to `values` (site -> [n, length, d]) at every layer."""
    place = torch.stack(list(positions), dim=1)
    return [Edit(site, "set", value, place) for site, value in values.items()]


def moved(values: Mapping[str, Tensor], changes: Sequence[tuple[Tensor, Mapping[str, Tensor]]]) -> dict[str, Tensor]:
    """Values with a vector added at some tokens: changes are (columns [n], site -> [d] or [n, d])."""
    out = {}
    for site, value in values.items():
        new = value.clone()
        for columns, vectors in changes:
            new[torch.arange(len(new)), columns] += vectors[site].to(new)
        out[site] = new
    return out

"""Interchange-intervention accuracy of a basis on prepared pairs."""

from typing import Any

import torch
from torch import Tensor

from microtome.errors import SubjectMismatch, UsageError
from microtome.trace.alignment.basis import Aligned, interchanged
from microtome.trace.alignment.data import ROWS, Prepared


def interchange_logits(data: Prepared, basis: Any) -> Tensor:
    """Logits [n, classes] under the interchange of each pair."""
    missing = [v for v in data.pairs.variables if v not in basis.blocks]
    if missing:
        raise UsageError(f"the alignment has no variable {missing[0]!r}; it has {list(basis.blocks)}.")
    parts = []
    with torch.no_grad():
        for rows in torch.arange(len(data.base)).split(ROWS):
            sources = {v: s[rows] for v, s in data.sources.items()}
            chosen = {v: data.pairs.chosen[v][rows].to(data.base.device) for v in sources}
            parts.append(data.suffix(interchanged(basis, data.base[rows], sources, chosen), rows))
    return torch.cat(parts)


def interchange_hits(data: Prepared, basis: Any) -> Tensor:
    """Whether each pair's output is the counterfactual label, bool [n]."""
    return interchange_logits(data, basis).argmax(-1).cpu() == data.pairs.labels.cpu()


def interchange_accuracy(data: Prepared, basis: Any) -> float:
    """Share of pairs whose output is the counterfactual label."""
    return float(interchange_hits(data, basis).double().mean())


def require_aligned(basis: Any, subject: Any) -> Aligned:
    """The basis, if it is an alignment of this subject.

    Raises
    ------
    UsageError, SubjectMismatch
    """
    if not hasattr(basis, "blocks") or not hasattr(basis, "position"):
        raise UsageError(
            f"an alignment is needed (mt.trace.das and its kin, or AlignedLinear), got {type(basis).__name__}: which "
            "coordinates belong to which variable must be known."
        )
    if basis.subject and basis.subject != subject.fingerprint():
        raise SubjectMismatch(f"the alignment was fitted on subject {basis.subject[:12]}, not on {subject.name}; refit it.")
    return basis

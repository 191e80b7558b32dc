"""Run a subject with components knocked out: the one engine behind faithfulness, completeness and minimality."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from microtome.errors import UsageError
from microtome.rng import rng
from microtome.subject.edit import Edit
from microtome.trace.nodes import Node

Ablation = Literal["mean", "resample", "zero", "corrupt"]
ABLATIONS = ("mean", "resample", "zero", "corrupt")


def references(
    subject: Any, bound: Any, sites: Sequence[str], ablation: Ablation, seed: int = 0
) -> dict[str, Tensor]:
    """What knocked-out components are set to, per site, like the site on the clean inputs [n, length, ...].

    "mean" = mean over the corrupt inputs, per position and per template (task groups with the same template hold the same
    positions); "corrupt" = the paired corrupt input; "resample" = another corrupt input; "zero" = 0.
    """
    if ablation not in ABLATIONS:
        raise UsageError(f"ablation must be one of {ABLATIONS}, got {ablation!r}.")
    run = subject.run(bound.corrupt, record=list(sites), logits="none")
    n = len(bound)
    if ablation == "zero":
        return {s: torch.zeros_like(run[s]) for s in sites}
    if ablation == "corrupt":
        return {s: run[s] for s in sites}
    if ablation == "resample":
        order = torch.from_numpy(rng(seed, "resample").permutation(n))
        return {s: run[s][order] for s in sites}
    lengths = bound.inputs.lengths
    same = (lengths[:, None] == lengths[None]).float()  # prompts of one length share their positions
    weights = (same / same.sum(dim=1, keepdim=True)).to(run[sites[0]].dtype)
    return {s: (weights.to(run[s].device) @ run[s].flatten(1)).view_as(run[s]) for s in sites}


def knock_out(nodes: Sequence[Node], reference: dict[str, Tensor]) -> list[Edit]:
    """Edits that set nodes to their reference; heads of one site become one edit."""
    grouped: dict[tuple, list[Node]] = {}
    for node in nodes:
        grouped.setdefault((node.site, node.position, node.unit, node.head is None), []).append(node)
    edits = []
    for (site, position, unit, whole), members in grouped.items():
        heads = None if whole else sorted(n.head for n in members if n.head is not None)
        edits.append(Edit(site, "set", reference[site], position, heads, unit))
    return edits


def metric_under(
    subject: Any, bound: Any, sets: Sequence[Sequence[Node]], reference: dict[str, Tensor]
) -> np.ndarray:
    """Metric values [sets, n] on the clean inputs with each set of nodes knocked out; the empty set is the plain model."""
    edits = [knock_out(s, reference) for s in sets]
    filled = [i for i, e in enumerate(edits) if e]
    out = np.empty((len(sets), len(bound)))
    if filled:
        swept = subject.sweep(bound.inputs, [edits[i] for i in filled], bound.metric)
        out[filled] = swept.values.double().numpy()
        plain = swept.base.double().numpy()
    else:
        logits = subject.run(bound.inputs, logits=bound.metric.positions).logits
        plain = bound.metric(logits[:, 0] if logits.ndim == 3 else logits).double().cpu().numpy()
    out[[i for i in range(len(sets)) if i not in set(filled)]] = plain
    return out

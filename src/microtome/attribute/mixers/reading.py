"""From maps over positions to an attribution: which row is asked, in slices of bounded memory."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.layout import layout_of
from microtome.attribute.mixers.layers import layers
from microtome.attribute.place import input_site, position_mask, token_texts
from microtome.subject.gradients import gradients

#: Bytes that the matrices of a slice of the examples may take.
BUDGET = 128 * 2**20
#: What a method makes of a slice: values of its sites, their gradients, the mask -> maps [n, position, source].
Maps = Callable[[dict[str, Tensor], dict[str, Tensor], Tensor | None], Tensor]


def read_maps(
    subject: Any,
    task: Any,
    maps: Maps,
    *,
    name: str,
    sites: list[str],
    slopes: list[str] | None = None,
    site: str | None = None,
    metric: str | None = None,
    settings: dict[str, Any] | None = None,
) -> Attribution:
    """The row of `maps` at the position that the metric reads, for each example.

    Parameters
    ----------
    maps : what is computed from the recorded `sites` and the gradients of the metric at `slopes`
    site : where the sources are; default the embeddings
    """
    bound = subject.bind(task, metric=metric)
    place = subject.site(site or input_site(subject)).name
    entry = subject.site(layers(subject)[0].input).name
    recorded = list(dict.fromkeys([entry, *sites]))
    found, outputs = [], []
    size = _room(subject, bound)
    for start in range(0, max(1, len(bound)), size):
        part = bound[slice(start, start + size)]
        output, grads, values = _seen(subject, part, slopes or [], recorded)
        rows = asked(subject, part, values[entry])
        with torch.no_grad():
            whole = maps(values, grads, part.inputs.mask)
        found.append((whole.mean(1) if rows is None else whole[torch.arange(len(rows)), rows]).cpu())
        outputs.append(output.cpu())
    value = torch.cat(found)
    return Attribution(
        value, ("batch", "position"), place, name, torch.cat(outputs), None, 2 if slopes else 1,
        position_mask(subject, bound.inputs, place, value[..., None]), token_texts(subject, bound.inputs),
        subject.fingerprint(), task.fingerprint(), {"metric": bound.metric.name, **(settings or {})},
    )  # fmt: skip


def _seen(subject: Any, bound: Any, slopes: list[str], sites: list[str]) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """The metric, gradients at `slopes` (a backward only where there are any) and values."""
    if slopes:
        return gradients(subject, bound.inputs, slopes, bound.metric, (), sites)
    rows = "all" if bound.metric.positions is None else bound.metric.positions
    run = subject.run(bound.inputs, record=sites, logits=rows)
    return bound.metric(bound.metric.read(run.logits)), {}, run.values


def asked(subject: Any, bound: Any, entry: Tensor) -> Tensor | None:
    """The position [n] whose output is read: the metric's, or the class token; None where all are pooled."""
    if bound.metric.positions is not None:
        return bound.metric.positions
    special = layout_of(subject, layers(subject)[0].input, entry).special
    return torch.zeros(len(entry), dtype=torch.long) if special else None


def _room(subject: Any, bound: Any) -> int:
    """How many examples at once: the widest layer's channels over all pairs of positions."""
    groups = max((p.shape[0] for p in subject.module.parameters() if p.ndim > 1 and p.shape[0] < 2**15), default=1)
    length = int(bound.inputs.main.shape[1]) if bound.inputs.main.ndim == 2 else 256
    return max(1, BUDGET // (8 * groups * length * length))

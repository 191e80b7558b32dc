"""Run a subject whose edges are partly cut: the one engine behind edge patching, circuits, ACDC and learned masks.

Every reader v is given ``x + sum_u (1 - C[u, v]) (ref_u - out_u)``: the stream as it is in this run, with what the cut edges
carry replaced by a reference. The module itself is unchanged and computes everything else, except what is thrown away: MLPs
that nobody hears, projections that are replaced whole, and what lies behind the last attention at positions that nobody
reads. Copies with masks of their own are stacked on the batch axis. With masks that ask for a gradient, so does the result.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from microtome.errors import ShapeError, UsageError
from microtome.rng import rng
from microtome.subject.hooks import attached
from microtome.subject.inputs import Inputs
from microtome.subject.narrow import last_mlp, mlp_of, narrowed
from microtome.subject.partial import last_projection, silenced
from microtome.subject.replay import main_trunk
from microtome.subject.run import logits_of
from microtome.trace.cut import Cut
from microtome.trace.knockout import ABLATIONS, Ablation, averaging
from microtome.trace.wires import Wires

#: Bytes for what one pass holds in the width of the model.
WORK = 128 * 2**20


def reference_values(
    subject: Any, bound: Any, wires: Wires, ablation: Ablation, seed: int = 0, *, direction: str = "noising"
) -> list[Tensor]:
    """What cut edges carry, per group of writers [n, L, nodes, width].

    Noising takes it from the corrupt inputs (the clean ones are run), denoising from the clean inputs. "corrupt" = the paired
    input, "resample" = another one, "mean" = their mean per position and template, "zero" = 0.

    Raises
    ------
    UsageError
        When the ablation is unknown.
    """
    if ablation not in ABLATIONS:
        raise UsageError(f"ablation must be one of {ABLATIONS}, got {ablation!r}.")
    source = bound.corrupt if direction == "noising" else bound.inputs
    run = subject.run(source, record=wires.written, logits="none")
    values = [w.value(run) for w in wires.writers]
    if ablation == "zero":
        return [torch.zeros_like(v) for v in values]
    if ablation == "resample":
        order = torch.from_numpy(rng(seed, "resample").permutation(len(bound))).to(values[0].device)
        return [v[order] for v in values]
    if ablation == "mean":
        weights = averaging(bound)
        return [(weights.to(v) @ v.flatten(1)).view_as(v) for v in values]
    return values


def masked_metric(
    subject: Any, inputs: Inputs, metric: Any, wires: Wires, reference: Sequence[Tensor], masks: Tensor
) -> Tensor:
    """The metric [masks, n] with the edges outside each mask cut.

    Parameters
    ----------
    inputs, metric : Inputs, Metric
        Of the run that goes on where edges are kept.
    reference : sequence of Tensor
        From `reference_values`.
    masks : Tensor[masks, senders, receivers]
        1 = kept, 0 = cut, anything between = a mixture.
    """
    if masks.ndim != 3 or masks.shape[1:] != wires.allowed.shape:
        raise ShapeError(f"masks need the shape [masks, {', '.join(map(str, wires.allowed.shape))}], got {list(masks.shape)}.")
    n, length = len(inputs), reference[0].shape[1]
    widest = max(len(r.nodes) for p in wires.places for r in p.readers)
    one = 4 * length * wires.width * (len(wires.senders) + 2 * widest + 8)
    copies = max(1, min(len(masks), WORK // max(1, one * n)))
    rows = n if copies > 1 else max(1, min(n, WORK // max(1, one)))
    out = []
    for part in masks.split(copies):
        values = [_pass(subject, inputs[i : i + rows], metric.rows(slice(i, i + rows)), wires,
                        [r[i : i + rows] for r in reference], part) for i in range(0, n, rows)]  # fmt: skip
        out.append(torch.cat(values, dim=1))
    return torch.cat(out)


def _pass(subject: Any, inputs: Inputs, metric: Any, wires: Wires, reference: Sequence[Tensor], masks: Tensor) -> Tensor:
    k, n = len(masks), len(inputs)
    cut = Cut(wires, reference, masks.to(reference[0]))
    trunk = main_trunk(subject)
    idle = [mlp_of(subject, trunk, b) for b in cut.idle] if trunk is not None else []
    last = [last_projection(subject, trunk), last_mlp(subject, trunk)] if trunk is not None and cut.ends_normed else []
    stacked, parameters = inputs.repeat(k), [p for p in subject.module.parameters() if p.requires_grad]
    many = metric.repeat(k)
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        with ExitStack() as stack:
            stack.enter_context(torch.set_grad_enabled(masks.requires_grad))
            for mlp in idle:  # nobody hears it: one position stands for all, and what it adds is taken off again
                stack.enter_context(narrowed(mlp, torch.zeros(k * n, dtype=torch.long)))
            for module in last if many.positions is not None else []:  # behind the last attention only these are read
                if module is not None and module not in idle:
                    stack.enter_context(narrowed(module, many.positions.to(stacked.main.device)))
            stack.enter_context(silenced(cut.silent(subject)))
            stack.enter_context(attached(subject.module, cut.taps(subject), stacked.frame_of))
            logits = logits_of(subject.call(stacked, many.where))
            return many(many.read(logits)).view(k, n)
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)

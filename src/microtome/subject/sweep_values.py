"""Metric values of a sweep: read from final residual vectors, or from full forwards of stacked copies."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from microtome.errors import EditTouchedNothing
from microtome.subject.apply import Count
from microtome.subject.bind import Metric
from microtome.subject.edit import Edit
from microtome.subject.hooks import Placed, Tap, attached
from microtome.subject.inputs import Inputs
from microtome.subject.reading import with_looks
from microtome.subject.replay import head_of, main_trunk, tail
from microtome.subject.run import logits_of

if TYPE_CHECKING:
    from microtome.subject.subject import Subject


def reader(subject: "Subject", metric: Metric) -> Callable[[Tensor], Tensor]:
    """From final residual vectors [copies, n, d] to metric values [copies, n], without full logits where possible."""
    from microtome.stimuli.metrics import logit_difference

    trunk, head = main_trunk(subject), head_of(subject)
    capped = trunk.stack.cap and getattr(subject.module.config, trunk.stack.cap, None)  # type: ignore[union-attr]
    if metric.function is logit_difference and isinstance(head, nn.Linear) and not capped:
        finish = trunk.finish(subject.module)  # type: ignore[union-attr]
        a, w = metric.answers.to(head.weight.device), metric.wrong.to(head.weight.device)
        direction = head.weight[a] - head.weight[w]
        bias = head.bias[a] - head.bias[w] if head.bias is not None else 0.0
        return lambda final: (finish(final) * direction).sum(-1) + bias
    logits = tail(subject)
    return lambda final: torch.stack([metric(logits(copy)) for copy in final])


def refuse_untouched(placed: Sequence[Placed]) -> None:
    """Every edit of a wave must have addressed at least one cell."""
    for p in placed:
        if p.count is not None and p.count.touched == 0:
            raise EditTouchedNothing(f"{p.edit} addressed no cell in the sweep: check its site and positions.")


def full_values(subject: "Subject", inputs: Inputs, sets: Sequence[tuple[Edit, ...]], metric: Metric) -> Tensor:
    """Metric values [entries, n] by full forwards of stacked copies."""
    n = len(inputs)
    stacked = inputs.repeat(len(sets))
    taps: dict[str, Tap] = {}
    placed = []
    for k, edits in enumerate(with_looks(subject, sets)):
        for edit in edits:
            site = subject.site(edit.site)
            placed.append(Placed(edit, slice(k * n, (k + 1) * n) if len(sets) > 1 else None, Count()))
            taps.setdefault(site.name, Tap(site)).edits.append(placed[-1])
    with torch.no_grad(), attached(subject.module, list(taps.values()), inputs.frame_of):
        logits = logits_of(subject.call(stacked, metric.repeat(len(sets)).where))
    refuse_untouched(placed)
    per = logits.view(len(sets), n, *logits.shape[1:])
    return torch.stack([metric(metric.read(copy)) for copy in per]).cpu()

"""Attributions by backward rules: one formula on the engine of `rules`."""

from typing import Any

import torch

from microtome.attribute.attribution import Attribution
from microtome.attribute.place import input_site, position_mask, token_texts
from microtome.attribute.rules import Composite, composite_of, relevance
from microtome.subject.fingerprint import current_fingerprint


def backward(
    subject: Any, task: Any, composite: str | Composite, *, at: str | None, metric: str | None, name: str, times: bool = True
) -> Attribution:
    """Relevance (times=True) or the bare signal that arrives at a site, with what was lost on the way.

    `reference` is the part of the metric that is not sent (0 for metrics linear in the logits), so `residual` says by how much
    relevance is not conserved; composites without an audit have none.
    """
    chosen = composite_of(composite)
    bound = subject.bind(task, metric=metric)
    site = subject.site(at or input_site(subject)).name
    found = relevance(subject, bound.inputs, [site], bound.metric, chosen)
    value = (found.at(site) if times else found.signal[site]).detach().cpu()
    output = found.output.cpu()
    unruled = {"without_rule": list(found.unruled)} if chosen.audit else {}
    sent = (output.double() - found.start.cpu()).to(output) if chosen.audit else None
    return Attribution(
        value, subject.site(site).axes_of(value), site, name, output, sent, 2,
        position_mask(subject, bound.inputs, site, value), token_texts(subject, bound.inputs), current_fingerprint(subject),
        task.fingerprint(), {"metric": bound.metric.name, "composite": chosen.name, **unruled},
        {k: torch.as_tensor(v) for k, v in found.lost.items()},
    )  # fmt: skip

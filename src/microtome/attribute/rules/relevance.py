"""Signals at sites under a composite, in one forward and one backward."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from microtome.attribute.rules.composites import composite_of
from microtome.attribute.rules.mode import applied
from microtome.attribute.rules.node import Ledger, start
from microtome.attribute.rules.rule import Composite, Form
from microtome.subject.edit import Edit
from microtome.subject.gradients import gradients
from microtome.subject.inputs import Inputs


@dataclass(frozen=True)
class Relevance:
    """What one backward pass under a composite gave.

    Attributes
    ----------
    output : Tensor[n]
        The metric.
    start : Tensor[n]
        Relevance that was sent: sum of logits times gradient of the metric (the metric itself where that is linear).
    signal : dict of str to Tensor
        Site -> what arrived, in the composite's form: gradients, or relevance.
    values : dict of str to Tensor
        Site -> its value.
    lost : dict of str to Tensor[n]
        "module:function" -> relevance that went in at its output and did not come out at its inputs.
    form : {"relevance", "gradient"}
    unruled : tuple of str
        Calls without a rule, which shared in proportion to contributions; what they cost stands in `lost`.
    """

    output: Tensor
    start: Tensor
    signal: dict[str, Tensor]
    values: dict[str, Tensor]
    lost: dict[str, Tensor]
    form: Form
    unruled: tuple[str, ...] = ()

    def at(self, site: str) -> Tensor:
        """Relevance of every cell of a site."""
        return self.signal[site] if self.form == "relevance" else self.signal[site] * self.values[site]


class _Started:
    """A metric that relevance begins behind."""

    def __init__(self, metric: Callable[[Tensor], Tensor], ledger: Ledger, form: Form) -> None:
        self.metric, self.ledger = metric, ledger
        self.form: Form = form
        self.positions = getattr(metric, "positions", None)
        self.read = getattr(metric, "read", lambda logits: logits)

    def __call__(self, logits: Tensor) -> Tensor:
        return self.metric(start(logits, self.ledger, self.form))


def relevance(
    subject: Any,
    inputs: Inputs,
    sites: Sequence[str],
    metric: Callable[[Tensor], Tensor],
    composite: str | Composite,
    edits: Sequence[Edit] = (),
) -> Relevance:
    """Run the subject with a composite's rules and collect what arrives at sites. The subject is left as it was.

    Parameters
    ----------
    subject : Subject
    inputs : Inputs
    sites : sequence of str
    metric : callable
        Logits at the answer -> values [n]; ``subject.bind(task).metric``.
    composite : Composite or the name of one
    edits : sequence of Edit
        Applied in the same run.

    Returns
    -------
    Relevance
    """
    chosen = composite_of(composite)
    with applied(subject.module, chosen) as ledger:
        ledger.examples = len(inputs)
        output, signal, values = gradients(subject, inputs, sites, _Started(metric, ledger, chosen.form), edits)
    began = ledger.start if ledger.start is not None else torch.zeros(len(inputs), dtype=torch.float64)
    return Relevance(output, began, signal, values, dict(ledger.lost), chosen.form, tuple(sorted(ledger.unruled)))

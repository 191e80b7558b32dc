"""The two ends of a path, the baseline and the input: their values, the metric there, and the result's shared fields."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.place import Baseline, baseline_at, input_site, position_mask, token_texts
from microtome.attribute.suffix import LEAST, Suffix, suffix_of
from microtome.errors import UsageError
from microtome.subject.edit import patch
from microtome.subject.fingerprint import current_fingerprint
from microtome.subject.run import Run


@dataclass(frozen=True)
class Ends:
    """A task on a subject, between a baseline and the input.

    Attributes
    ----------
    site : str
    start, end : Tensor[n, ...]
        The site on the baseline and on the input.
    output, reference : Tensor[n]
        The metric at `end` and at `start`.
    """

    subject: Any
    task: Any
    bound: Any
    site: str
    start: Tensor
    end: Tensor
    output: Tensor
    reference: Tensor
    baseline: Any

    @cached_property
    def suffix(self) -> Suffix | None:
        """What follows the site."""
        return suffix_of(self.subject, self.bound, self.site)

    def measure(self, values: Tensor) -> Tensor:
        """The metric [k, n] in float64 where the site takes values [k, n, ...], all stacked on the batch."""
        metric = self.bound.metric.repeat(len(values))
        stacked = self.bound.inputs.repeat(len(values))

        def call() -> Run:
            return self.subject.run(stacked, edits=[patch(self.site, values.flatten(0, 1))], logits=metric.where)

        suffix = self.suffix if len(values) >= LEAST else None
        run = call() if suffix is None else suffix.after(len(values), call)
        return metric(metric.read(run.logits)).view(len(values), -1).double().cpu()

    def attribution(
        self,
        values: Tensor,
        method: str,
        evaluations: int,
        *,
        site: str = "",
        axes: tuple[str, ...] = (),
        reference: Tensor | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Attribution:
        """An attribution at `site` (default: where the path is), whose values may have some of its axes only."""
        name = site or self.site
        values = values.detach().cpu()
        like = self.end if axes else values
        return Attribution(
            values, axes or self.subject.site(name).axes_of(values), name, method, self.output, reference, evaluations,
            position_mask(self.subject, self.bound.inputs, name, like), token_texts(self.subject, self.bound.inputs),
            current_fingerprint(self.subject), self.task.fingerprint(),
            {"metric": self.bound.metric.name, "baseline": named(self.baseline), **(settings or {})},
        )  # fmt: skip


def ends(subject: Any, task: Any, *, at: str | None, baseline: Baseline, metric: str | None) -> Ends:
    """Run the input and the baseline."""
    bound = subject.bind(task, metric=metric)
    name = subject.site(at or input_site(subject)).name
    rows = bound.metric.where
    run = subject.run(bound.inputs, record=[name], logits=rows)
    start = baseline_at(subject, bound, name, run[name], baseline)
    base = subject.run(bound.inputs, edits=[patch(name, start)], logits=rows)
    output, reference = (bound.metric(bound.metric.read(r.logits)).cpu() for r in (run, base))
    return Ends(subject, task, bound, name, start, run[name], output, reference, baseline)


def named(baseline: Any) -> Any:
    """A baseline as it is written in the settings of a result."""
    return baseline if isinstance(baseline, (str, int, float)) else "given"


def counted(what: str, value: Any, least: int = 1) -> None:
    """Refuse anything but an int of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(f"{what} must be an int >= {least}, got {value!r}.")

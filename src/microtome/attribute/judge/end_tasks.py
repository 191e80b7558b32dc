"""What people want to know of a feature, asked of the network itself, and how far an attribution answers it.

A method that is complete and linear can give one number to a feature of two networks that behave oppositely near the input.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from microtome.attribute.ends import Ends, counted, ends
from microtome.attribute.masks import CHUNK_BYTES
from microtome.attribute.place import Baseline
from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.rng import torch_rng
from microtome.subject.subject import Subject


@dataclass(frozen=True, eq=False)
class Answers:
    """What a network answers to an end task, with Hoeffding intervals over the range of what was seen.

    Attributes
    ----------
    value, low, high : Tensor[n]
        Mean effect of the change, and its interval.
    yes : BoolTensor[n]
        The decision.
    queries : int
        Evaluations per example.
    """

    value: Tensor
    low: Tensor
    high: Tensor
    yes: Tensor
    queries: int


def local_trend(
    subject: Any, task: Any, *, feature: int, delta: float = 0.05, queries: int = 30, metric: str | None = None, seed: int = 0
) -> Answers:
    """Does the output rise when one input feature rises a little? Asked by moving it.

    ``value = E_t[m(x + t e_i) - m(x)]``, t uniform in (0, delta); the answer is value > 0.

    Parameters
    ----------
    subject : Subject
    task : Task
        Of images or vectors.
    feature : int
        Cell of the flattened input.
    delta : float, default 0.05
    queries : int, default 30
    metric : str, optional
        Default: the task's.
    seed : int, default 0

    Returns
    -------
    Answers

    Raises
    ------
    UsageError

    Notes
    -----
    Null: a feature without influence has value 0, and the answer no.
    Misleads when delta is larger than the region that was meant.

    References
    ----------
    Bilodeau, Jaques, Koh, Kim (2022). Impossibility Theorems for Feature Attribution. https://arxiv.org/abs/2212.11870
    """
    if not delta > 0:
        raise UsageError(f"delta must be above 0, got {delta!r}.")
    e, flat, place = _asked(subject, task, feature, queries, metric)
    steps = delta * torch.rand(queries, len(flat), generator=torch_rng(seed, "local trend"), dtype=torch.float64)
    drops = _effects(e, flat[:, place] + steps.to(flat), place)
    return _answers(drops, drops.mean(0) > 0)


def reliance(
    subject: Any, task: Any, *, feature: int, tolerance: float = 0.0, queries: int = 30, metric: str | None = None,
    seed: int = 0,
) -> Answers:  # fmt: skip
    """Does the output depend on one (perhaps spurious) feature? Asked by giving it other examples' values.

    ``value = E[|m(x, x_i <- x'_i) - m(x)|]`` over other examples x'; the answer is value > tolerance.
    Parameters, errors and reference as in `local_trend`; Degenerate with one example.
    """
    e, flat, place = _asked(subject, task, feature, queries, metric)
    if len(flat) < 2:
        raise Degenerate("reliance takes values from other examples: it needs at least 2.")
    shift = torch.randint(1, len(flat), (queries, len(flat)), generator=torch_rng(seed, "reliance"))
    effects = _effects(e, flat[(torch.arange(len(flat)) + shift) % len(flat), place], place).abs()
    return _answers(effects, effects.mean(0) > tolerance)


def recourse(
    subject: Any, task: Any, *, feature: int, reach: float, queries: int = 30, metric: str | None = None, seed: int = 0
) -> Answers:
    """Is there a value of one feature, at most `reach` away, that lifts the output above 0? Asked by trying.

    ``value`` is the mean effect of the tried values; the answer is whether one of them gives m > 0.
    Parameters, errors and reference as in `local_trend`.
    """
    if not reach > 0:
        raise UsageError(f"reach must be above 0, got {reach!r}.")
    e, flat, place = _asked(subject, task, feature, queries, metric)
    steps = reach * (2 * torch.rand(queries, len(flat), generator=torch_rng(seed, "recourse"), dtype=torch.float64) - 1)
    effects = _effects(e, flat[:, place] + steps.to(flat), place)
    return _answers(effects, ((effects + e.output.double().cpu()) > 0).any(0))


def decides(scores: Tensor, yes: Tensor) -> dict[str, float]:
    """How well scores [n] answer yes/no questions: sensitivity and specificity of "score > 0", their sum, and the AUROC.

    A guess has a sum of 1, whatever its rate of yes.
    """
    from microtome.evidence import auroc

    yes = yes.bool()
    if scores.shape != yes.shape:
        raise ShapeError(f"{list(scores.shape)} scores for {list(yes.shape)} answers.")
    if bool(yes.all()) or not bool(yes.any()):
        raise Degenerate("all answers are the same: there is nothing to decide.")
    said = scores > 0
    sensitivity, specificity = float(said[yes].double().mean()), float((~said[~yes]).double().mean())
    return {"sensitivity": sensitivity, "specificity": specificity, "sum": sensitivity + specificity,
            "auroc": float(auroc(scores.double().numpy(), yes.numpy()))}  # fmt: skip


def counterexample(
    subject: Any, task: Any, *, feature: int, baseline: Baseline = 0.0, slope: float | None = None
) -> tuple[Subject, Subject]:
    """Two networks with one attribution of a feature, for every complete and linear method, and opposite trends near x.

    The subject plus and minus a bump of that feature alone, ``b(x'_i) = b(x_i) = 0`` and ``b'(x_i) = slope``, on the answer's
    logit: a complete and linear method that gives a function of one feature to this feature adds ``b(x_i) - b(x'_i) = 0``.

    Parameters
    ----------
    subject : Subject
    task : Task
        One example, an image or vector, with a metric linear in the logits.
    feature : int
        Cell of the flattened input.
    baseline : str, number or Tensor
        That of the attribution.
    slope : float, optional
        Default: 1 + twice the subject's own slope there.

    Returns
    -------
    (Subject, Subject)
        One that rises with the feature, one that falls, within half of its way to the baseline around x.

    Raises
    ------
    ShapeError
        With more than one example.
    Degenerate
        When the feature stands at its baseline.

    References
    ----------
    Bilodeau et al. (2022). Impossibility Theorems for Feature Attribution. https://arxiv.org/abs/2212.11870
    """
    if len(task) != 1:
        raise ShapeError(f"a counterexample is built around one example, task '{task.name}' has {len(task)}: take task[:1].")
    e, flat, place = _asked(subject, task, feature, 1, None, baseline)
    start, end = float(e.start.flatten(1)[0, place]), float(flat[0, place])
    if start == end:
        raise Degenerate(f"feature {feature} stands at its baseline {start:g}: its attribution is 0 whatever the network.")
    if slope is None:
        _, grads = subject.gradients(e.bound.inputs, [e.site], e.bound.metric)
        slope = 1 + 2 * abs(float(grads[e.site].flatten(1)[0, place]))
    answer = int(torch.as_tensor(e.bound.answers)[0])
    rising, falling = (
        Subject(Bumped(subject.module, place, start, end, sign * slope, answer), transform=subject.transform)
        for sign in (1, -1)
    )
    return rising, falling


class Bumped(nn.Module):
    """A network plus a piecewise linear function of one input feature on one logit."""

    def __init__(self, module: nn.Module, feature: int, start: float, end: float, slope: float, output: int):
        super().__init__()
        self.input, self.inner = _One(), module  # in this order: the input is edited at the first layer
        self.feature, self.start, self.end, self.slope, self.output = feature, start, end, slope, output

    def forward(self, x: Tensor) -> Tensor:
        """The network's logits, one of them with the bump."""
        x = self.input(x)
        logits = self.inner(x)
        half = abs(self.end - self.start) / 2
        u = x.flatten(1)[:, self.feature] - self.end
        # Rises with `slope` within half of the end and falls back to 0 on both sides.
        bump = self.slope * (torch.where(u.abs() <= half, u, u.sign() * (2 * half - u.abs()).clamp(min=0)))
        return logits + bump[:, None] * nn.functional.one_hot(torch.tensor(self.output), logits.shape[1]).to(logits)


class _One(nn.Module):
    """x * 1: a layer with a parameter, so that the network and its bump have one first layer to edit."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """The input."""
        return x * self.weight.to(x.dtype)


def _asked(
    subject: Any, task: Any, feature: int, queries: int, metric: str | None, baseline: Baseline = 0.0
) -> tuple[Ends, Tensor, int]:
    counted("queries", queries)
    if not isinstance(task.clean, Tensor) or not task.clean.dtype.is_floating_point:
        raise UsageError(f"task '{task.name}' has {task.kind} inputs; end tasks move features of images or vectors.")
    e = ends(subject, task, at=None, baseline=baseline, metric=metric)
    flat = e.end.flatten(1)
    if not isinstance(feature, int) or not 0 <= feature < flat.shape[1]:
        raise UsageError(f"feature must be an int in 0..{flat.shape[1] - 1}, got {feature!r}.")
    return e, flat, feature


def _effects(e: Ends, values: Tensor, feature: int) -> Tensor:
    """Changes of the metric [queries, n] when the feature takes values [queries, n]."""
    parts = []
    for part in values.split(max(1, CHUNK_BYTES // (e.end.numel() * e.end.element_size()))):
        x = e.end.flatten(1).repeat(len(part), 1, 1)
        x[:, :, feature] = part
        parts.append(e.measure(x.view(len(part), *e.end.shape)) - e.output.double().cpu())
    return torch.cat(parts)


def _answers(effects: Tensor, yes: Tensor, level: float = 0.95) -> Answers:
    k = len(effects)
    reach = (effects.amax(0) - effects.amin(0)) * (torch.tensor(2 / (1 - level)).log() / (2 * k)).sqrt()
    mean = effects.mean(0)
    return Answers(mean, mean - reach, mean + reach, yes, k)

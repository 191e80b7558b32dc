"""Does a map change when what was learned is destroyed, or when another class is asked? One similarity, three questions."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.judge.robustness import Explain
from microtome.errors import Degenerate
from microtome.rng import rng
from microtome.salmon_test import parts_of

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["reinit", "weight_shuffle"]


@dataclass(frozen=True, eq=False)
class Randomisation:
    """How alike maps stay as parts of the network are randomised.

    Attributes
    ----------
    method : str
    parts : tuple of str
        What was randomised at each stage (in a cascade: with all before it).
    similarity : Tensor[parts, n]
        Spearman correlation of each example's map with its map in the intact network.
    """

    method: str
    parts: tuple[str, ...]
    similarity: Tensor

    @property
    def last(self) -> Tensor:
        """Similarity at the last stage [n]; of a cascade: all is random. Near 0 for a map that reads what was learned."""
        return self.similarity[-1]

    @property
    def table(self) -> "pd.DataFrame":
        """One row per part: part, mean, low, high over examples (quartiles)."""
        import pandas as pd

        values = self.similarity.numpy()
        low, high = np.quantile(values, [0.25, 0.75], axis=1)
        return pd.DataFrame({"part": list(self.parts), "mean": values.mean(1), "low": low, "high": high})

    def __repr__(self) -> str:
        shown = ", ".join(f"{p} {v:.2f}" for p, v in zip(self.parts, self.similarity.mean(1).tolist()))
        return f"Randomisation({self.method}: {shown})"


def mprt(subject: Any, task: Any, explain: Explain, *, kind: Kind = "reinit", seed: int = 0) -> Randomisation:
    """Randomise the network from the top down and compare maps with those of the intact network.

    Parameters
    ----------
    subject : Subject
    task : Task
    explain : callable
        (subject, task) -> Attribution, with its options fixed.
    kind : {"reinit", "weight_shuffle"}
    seed : int, default 0

    Returns
    -------
    Randomisation

    Raises
    ------
    Degenerate
        For maps with one cell.

    Notes
    -----
    Null: two maps without relation have a Spearman correlation of 0.
    Misleads when the input's own edges are in every map (input times anything): correlations then stay high for a method that
    does read the weights. Compare with methods of the same kind.

    References
    ----------
    Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim (2018). Sanity Checks for Saliency Maps. https://arxiv.org/abs/1810.03292
    """
    return _compared(subject, task, explain, _stages(subject, kind, seed, alone=False))


def mprt_independent(subject: Any, task: Any, explain: Explain, *, kind: Kind = "reinit", seed: int = 0) -> Randomisation:
    """Randomise one part of the network at a time, all others intact. Otherwise as `mprt`."""
    return _compared(subject, task, explain, _stages(subject, kind, seed, alone=True))


def random_logit(subject: Any, task: Any, explain: Explain, *, seed: int = 0) -> Tensor:
    """Similarity of each map with that of another class, drawn at random [n].

    Parameters
    ----------
    subject : Subject
    task : Task
        The other class takes the place of the answer; the wrong answer stays, unless the two would be one.
    explain : callable
    seed : int, default 0

    Returns
    -------
    Tensor[n]
        Spearman correlation; near 1 (or, where the metric is a difference of two classes, near -1) for a map that does not
        read the class.

    Raises
    ------
    Degenerate
        When there is one class.

    References
    ----------
    Sixt, Granz, Landgraf (2020). When Explanations Lie: Why Many Modified BP Attributions Fail. https://arxiv.org/abs/1912.09818
    """
    first = explain(subject, task)
    return spearman_rows(first.values, explain(subject, other_class(subject, task, seed)).values)


def other_class(subject: Any, task: Any, seed: int) -> Any:
    """The task with another answer for each example: another class, or for texts another example's answer."""
    draw = rng(seed, "other class")
    if isinstance(task.answers, list):
        pool = sorted(set(task.answers) | set(task.wrong))
        answers, wrong = list(task.answers), list(task.wrong)
    else:
        bound = subject.bind(task)
        rows = "all" if bound.metric.positions is None else bound.metric.positions
        logits = bound.metric.read(subject.run(bound.inputs, logits=rows).logits)
        pool = (
            list(range(logits.shape[-1])) if task.kind != "tokens" else sorted({*bound.answers.tolist(), *bound.wrong.tolist()})
        )
        answers, wrong = bound.answers.tolist(), bound.wrong.tolist()
    if len(pool) < 2:
        raise Degenerate(f"task '{task.name}' has one class: there is no other to ask.")
    others = []
    for a, w in zip(answers, wrong):
        free = [c for c in pool if c not in (a, w)] or [w]
        others.append(free[int(draw.integers(len(free)))])
    wrong = [a if w == o else w for a, w, o in zip(answers, wrong, others)]
    made = (others, wrong) if isinstance(task.answers, list) else (torch.tensor(others), torch.tensor(wrong))
    return replace(task, answers=made[0], wrong=made[1])


def spearman_rows(a: Tensor, b: Tensor) -> Tensor:
    """Spearman correlation of each pair of maps [n, ...], ties by their mean rank; 0 where a map is constant."""
    a, b = (_mean_ranks(v.detach().double().flatten(1)) for v in (a, b))
    if a.shape[1] < 2:
        raise Degenerate("maps of one cell have no order to compare.")
    a, b = (v - v.mean(1, keepdim=True) for v in (a, b))
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp(min=1e-300)


def _mean_ranks(values: Tensor) -> Tensor:
    ordered = values.sort(dim=1).values
    values = values.contiguous()
    return (torch.searchsorted(ordered, values) + torch.searchsorted(ordered, values, right=True)).double() / 2


def _stages(subject: Any, kind: Kind, seed: int, *, alone: bool) -> Iterator[tuple[str, Any]]:
    """Parts from the top down, with one and the same twin that has them randomised; alone: others as they were."""
    twin = subject.twin(kind, seed=seed, keep="*")
    of = (twin, subject.twin(kind, seed=seed), subject)
    mixed, drawn, own = (dict(s.module.named_parameters()) for s in of)
    for part, names in reversed(parts_of(subject).items()):
        with torch.no_grad():
            for name in names:
                mixed[name].copy_(drawn[name])
        yield part, twin
        if alone:
            with torch.no_grad():
                for name in names:
                    mixed[name].copy_(own[name])


def _compared(subject: Any, task: Any, explain: Explain, stages: Iterable[tuple[str, Any]]) -> Randomisation:
    intact: Attribution = explain(subject, task)
    parts, rows = [], []
    for part, twin in stages:
        parts.append(part)
        rows.append(spearman_rows(intact.values, explain(twin, task).values))
    return Randomisation(intact.method, tuple(parts), torch.stack(rows))

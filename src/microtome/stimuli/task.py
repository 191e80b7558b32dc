"""Task: a behaviour to explain, as inputs, counterfactual inputs, right and wrong answers, and a metric."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from microtome.errors import Degenerate, ShapeError, UsageError, nearest
from microtome.rng import rng
from microtome.stimuli.fingerprint import fingerprint
from microtome.stimuli.metrics import METRICS
from microtome.stimuli.rows import row_indices, take

if TYPE_CHECKING:
    from torch import Tensor

TASK_KINDS = ("text", "image", "tokens")


@dataclass(frozen=True, eq=False, repr=False)
class Task:
    """A behaviour: clean inputs with their answers, and corrupt inputs on which the answer would differ.

    Parameters
    ----------
    name : str
        Shown in results.
    clean, corrupt : list of str, or Tensor [n, ...]
        Inputs that show the behaviour, and the counterfactual of each.
    answers, wrong : list of str, or LongTensor [n]
        For text the token that should, and the one that should not, follow the prompt; otherwise class or token ids.
    roles : dict of name -> list of (start, end)
        Where each part of the prompt is, in characters of `clean`; the empty tuple where an example lacks the part.
    groups : list of int
        Examples with one number are not independent: they are resampled and split together. Default: equal prompts.
    metric : str
        A key of `microtome.stimuli.METRICS`.
    kind : str
        "text", "image" or "tokens".
    notes : str
        What a reader must know about the behaviour.

    Raises
    ------
    UsageError, ShapeError
        Unknown metric or kind, fields of different length, a role outside its prompt.
    Degenerate
        An answer equals its wrong answer.

    Examples
    --------
    >>> t = Task("capital", ["france :", "italy :"], ["italy :", "france :"], ["paris", "rome"], ["rome", "paris"])
    >>> len(t), t[:1].answers, t.metric
    (2, ['paris'], 'logit_difference')
    """

    name: str
    clean: "list[str] | Tensor"
    corrupt: "list[str] | Tensor"
    answers: "list[str] | Tensor"
    wrong: "list[str] | Tensor"
    roles: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)
    groups: list[int] = field(default_factory=list)
    metric: str = "logit_difference"
    kind: str = "text"
    notes: str = ""

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            known = list(METRICS)
            close = nearest(str(self.metric), known)
            raise UsageError(f"task {self.name!r}: no metric {self.metric!r}; known: {known}.{close}")
        if self.kind not in TASK_KINDS:
            raise UsageError(f"task {self.name!r}: kind must be one of {TASK_KINDS}, got {self.kind!r}.")
        n = len(self)
        for what in ("corrupt", "answers", "wrong", *(("groups",) if self.groups else ())):
            if len(getattr(self, what)) != n:
                raise ShapeError(f"task {self.name!r}: {n} clean inputs but {len(getattr(self, what))} {what}.")
        if not self.groups:
            object.__setattr__(self, "groups", _equal_together(self.clean))
        same = [i for i in range(n) if _item(self.answers, i) == _item(self.wrong, i)]
        if same:
            where = f"{len(same)} examples, the first is {same[0]}"
            raise Degenerate(f"task {self.name!r}: the answer equals the wrong answer in {where}.")
        for role, places in self.roles.items():
            if len(places) != n:
                raise ShapeError(f"task {self.name!r}: role {role!r} has {len(places)} places for {n} examples.")
            for i, place in enumerate(places):
                if place and not (len(place) == 2 and 0 <= place[0] < place[1] <= self._length(i)):
                    where = f"role {role!r} of example {i}"
                    raise UsageError(f"task {self.name!r}: {where} is {place}, outside its prompt.")

    def _length(self, i: int) -> int:
        return len(self.clean[i]) if self.kind != "image" else int(self.clean[i].shape[-1])

    def __len__(self) -> int:
        return len(self.clean)

    def __getitem__(self, key: Any) -> "Task":
        """The chosen examples (slice, indices or boolean mask) as a Task."""
        rows = row_indices(key, len(self), f"task {self.name!r}")
        return replace(
            self,
            **{what: take(getattr(self, what), rows) for what in ("clean", "corrupt", "answers", "wrong", "groups")},
            roles={role: take(places, rows) for role, places in self.roles.items()},
        )

    def split(self, seed: int = 0, share: float = 0.5) -> "tuple[Task, Task]":
        """Two disjoint tasks, the first with about `share` of the groups; no group is in both.

        Raises
        ------
        Degenerate
            Fewer than two groups: nothing to split.
        """
        if not 0 < share < 1:
            raise UsageError(f"share must be between 0 and 1, got {share}.")
        groups = np.asarray(self.groups)
        kinds = np.unique(groups)
        if len(kinds) < 2:
            raise Degenerate(f"task {self.name!r} has {len(kinds)} group; a split needs at least 2.")
        order = rng(seed, "task split", self.name).permutation(kinds)
        first = np.isin(groups, order[: min(max(round(share * len(kinds)), 1), len(kinds) - 1)])
        return self[first], self[~first]

    def fingerprint(self) -> str:
        """Hash of inputs, answers, roles, groups and metric."""
        parts = (self.kind, self.clean, self.corrupt, self.answers, self.wrong, self.roles, self.groups, self.metric)
        return fingerprint(*parts)

    def __repr__(self) -> str:
        about = f"metric={self.metric!r}, roles={list(self.roles)}"
        return f"Task({self.name!r}, {len(self)} {self.kind} examples, {about})"


def _item(values: Any, i: int) -> Any:
    return values[i] if isinstance(values, list) else values[i].item()


def _equal_together(clean: Any) -> list[int]:
    seen: dict[Any, int] = {}
    keys = clean if isinstance(clean, list) else [fingerprint(row) for row in clean]
    return [seen.setdefault(key, len(seen)) for key in keys]

"""Methods side by side on one task: measures per example, paired differences with intervals, corrected p-values."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.imputers import Imputer
from microtome.attribute.judge.measures import MEASURES, Case, Measure
from microtome.attribute.judge.robustness import Explain
from microtome.attribute.place import Baseline
from microtome.errors import Degenerate, ShapeError, UsageError, nearest
from microtome.evidence import Estimate, Finding, Null, Provenance, benjamini_hochberg, bootstrap, sign_flip_family
from microtome.rng import derive, torch_rng
from microtome.subject.fingerprint import current_fingerprint

if TYPE_CHECKING:
    import pandas as pd

#: Name of the control: a map drawn at random.
RANDOM = "random map"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of methods under measures, on the same independent groups of examples.

    Attributes
    ----------
    scores : dict of (method, measure) to ndarray[groups]
        Mean over each group's examples.
    measures : tuple of Measure
    methods : tuple of str
        With the control `RANDOM` at the end.
    maps : dict of method to Attribution
    seed : int
    """

    scores: dict[tuple[str, str], np.ndarray]
    measures: tuple[Measure, ...]
    methods: tuple[str, ...]
    maps: dict[str, Attribution]
    seed: int

    @property
    def table(self) -> "pd.DataFrame":
        """One row per measure and method: measure, family, better, method, mean, low, high, n."""
        import pandas as pd

        rows = []
        for measure in self.measures:
            for name in self.methods:
                found = self.estimate(name, measure.name)
                row = {"measure": measure.name, "family": measure.family, "better": measure.better, "method": name}
                rows.append(row | {"mean": found.value, "low": found.low, "high": found.high, "n": found.n})
        return pd.DataFrame(rows)

    def estimate(self, method: str, measure: str) -> Estimate:
        """Mean score with its bootstrap interval over groups."""
        return bootstrap(self.scores[method, measure], seed=self.seed)

    def differences(self, *, alpha: float = 0.05) -> "pd.DataFrame":
        """One row per measure and pair of methods: measure, a, b, difference (a - b), low, high, p, q, better.

        p of a sign-flip test over groups, q by Benjamini-Hochberg over all rows; ``better`` names the better method where
        q <= alpha, else it is empty.
        """
        import pandas as pd

        rows, columns = [], []
        for measure in self.measures:
            for a, b in combinations(self.methods, 2):
                gap = self.scores[a, measure.name] - self.scores[b, measure.name]
                found = bootstrap(gap, seed=self.seed)
                columns.append(gap)
                rows.append({"measure": measure.name, "a": a, "b": b, "difference": found.value, "low": found.low,
                             "high": found.high, "up": measure.better == "higher"})  # fmt: skip
        table = pd.DataFrame(rows)
        table["p"] = sign_flip_family(np.stack(columns, axis=1), seed=self.seed).p
        table["q"] = benjamini_hochberg(table["p"].to_numpy())
        first = (table.difference > 0) == table.pop("up")
        table["better"] = np.where(table.q <= alpha, np.where(first, table.a, table.b), "")
        return table

    def finding(self, *, alpha: float = 0.05) -> Finding:
        """Do the methods say more than a random map? Supported when one of them beats it under one of the measures.

        The null flips signs of whole groups; the statistic is the largest mean gain over the random map, as a share of the
        gain's root mean square over groups (1: the same gain in every group).
        """
        gains, names = [], []
        for measure in self.measures:
            sign = 1.0 if measure.better == "higher" else -1.0
            for name in self.methods[:-1]:
                gain = sign * (self.scores[name, measure.name] - self.scores[RANDOM, measure.name])
                gains.append(gain / max(float(np.sqrt((gain**2).mean())), 1e-300))
                names.append(f"{name}, {measure.name}")
        family = sign_flip_family(np.stack(gains, axis=1), alternative="greater", seed=self.seed)
        best = int(family.observed.argmax())
        null = Null("signs of whole groups flipped (largest gain over all)", family.statistics.max(1),
                    float(family.observed[best]), "greater")  # fmt: skip
        any_map = next(iter(self.maps.values()))
        return Finding(
            f"one of {', '.join(self.methods[:-1])} beats a random map; the largest gain is that of {names[best]}",
            nulls=(null,), alpha=alpha, table=self.differences(alpha=alpha),
            controls={f"{m}, {s.name}": self.estimate(m, s.name) for s in self.measures for m in self.methods},
            provenance=Provenance(subject=any_map.subject, data=any_map.data, seed=self.seed),
        )  # fmt: skip

    def __repr__(self) -> str:
        n = len(next(iter(self.scores.values())))
        return f"Evaluation({', '.join(self.methods)}; {', '.join(m.name for m in self.measures)}; {n} groups)"


def evaluate(
    subject: Any,
    task: Any,
    methods: Mapping[str, Explain] | Sequence[Explain],
    *,
    measures: Sequence[str | Measure] = ("deletion", "insertion", "gini", "mprt"),
    masks: Tensor | None = None,
    at: str | None = None,
    baseline: Baseline | Imputer = "mean",
    seed: int = 0,
) -> Evaluation:
    """Judge methods by measures, beside a random map.

    Parameters
    ----------
    subject : Subject
    task : Task
        At least two groups of examples.
    methods : mapping of str to callable, or sequence of callables
        (subject, task) -> Attribution; give options with `functools.partial`.
    measures : sequence of str or Measure
        Names of `MEASURES`: deletion, insertion, comprehensiveness, sufficiency, road, infidelity, max_sensitivity,
        local_lipschitz, relevance_mass, relevance_rank, pointing_game, gini, entropy, mprt, random_logit.
    masks : BoolTensor[n, ...], optional
        Where the evidence lies; for measures of localisation.
    at : str, optional
        Site whose places go and are judged. Default: each attribution's own. Name one where methods attribute to different
        sites.
    baseline : str, number, Tensor or Imputer
        What stands in for absent places.
    seed : int, default 0

    Returns
    -------
    Evaluation
        ``table``, ``differences()``, ``finding()``.

    Raises
    ------
    UsageError
        No method, an unknown measure, measures of localisation without masks.
    SiteError
        A measure that needs what a method does not give.
    Degenerate
        Fewer than two groups.

    Notes
    -----
    Null: a random map, which is always one of the methods compared.
    Misleads when one measure is read as "the" quality of a method: they answer different questions, and faithfulness by
    deletion rewards what breaks the network.

    Examples
    --------
    >>> from microtome.attribute import gradient, integrated_gradients
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 2, bias=False))
    >>> net[0].weight.data = torch.tensor([[2.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.0]])
    >>> x = torch.linspace(0.5, 2.0, 48).view(12, 4)
    >>> zero = torch.zeros(12, dtype=torch.long)
    >>> task = Task("first", x, -x, zero, zero + 1, kind="image")
    >>> found = evaluate(Subject(net), task, [gradient, integrated_gradients], measures=["deletion"], baseline=0.0)
    >>> found.finding().verdict, found.differences().better.tolist()
    ('supported', ['', 'gradient', 'integrated_gradients'])
    """
    named = methods if isinstance(methods, Mapping) else {_name(m): m for m in methods}
    if not named or len(named) < len(methods) or RANDOM in named:
        raise UsageError(
            f"methods must be at least one callable, each with a name of its own (not '{RANDOM}'), got {methods!r}."
        )
    chosen = tuple(m if isinstance(m, Measure) else _measure(m) for m in measures)
    if not chosen:
        raise UsageError(f"no measures; known: {', '.join(MEASURES)}.")
    if masks is not None and len(masks) != len(task):
        raise ShapeError(f"{len(masks)} masks for {len(task)} examples.")
    if len(set(task.groups)) < 2:
        raise Degenerate(f"task '{task.name}' has one group of examples: differences have no interval.")
    maps = {name: explain(subject, task) for name, explain in named.items()}
    first = next(iter(named.values()))
    control: Explain = partial(random_map, like=first, seed=seed)
    maps[RANDOM] = control(subject, task)
    groups = np.unique(np.asarray(task.groups), return_inverse=True)[1]
    size = np.bincount(groups)
    scores: dict[tuple[str, str], np.ndarray] = {}
    for name, explain in {**named, RANDOM: control}.items():
        case = Case(subject, task, explain, maps[name], masks, at, baseline, seed)
        for measure in chosen:
            values = np.asarray(measure.of(case), dtype=np.float64)
            if values.shape != (len(task),):
                raise ShapeError(f"measure '{measure.name}' gave {list(values.shape)} values for {len(task)} examples.")
            scores[name, measure.name] = np.bincount(groups, weights=values) / size
    return Evaluation(scores, chosen, tuple(maps), maps, seed)


def random_map(subject: Any, task: Any, *, like: Explain, seed: int = 0) -> Attribution:
    """Independent normal values in the shape of a method's maps; other ones for another subject or task."""
    made = like(subject, task)
    stream = derive(seed, "random map", current_fingerprint(subject), task.fingerprint())
    drawn = torch.randn(made.values.shape, generator=torch_rng(stream), dtype=torch.float64).to(made.values)
    return replace(made, values=drawn, method=RANDOM, reference=None, evaluations=0)


def _measure(name: str) -> Measure:
    if name not in MEASURES:
        raise UsageError(f"no measure {name!r}; known: {', '.join(MEASURES)}.{nearest(str(name), MEASURES)}")
    return MEASURES[name]


def _name(method: Callable) -> str:
    while isinstance(method, partial):
        method = method.func
    return getattr(method, "__name__", type(method).__name__)

"""Perturbation curves: places go in the order of an attribution, an imputer fills them, the metric is read at each share.

Deletion, insertion, comprehensiveness, sufficiency and ROAD are formulas on the same two curves. Inserting the largest first
is removing the smallest first, read backwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.imputers import Imputer
from microtome.attribute.judge.places import explained, place_scores, ranks
from microtome.attribute.masks import Game, game
from microtome.attribute.place import Baseline
from microtome.errors import UsageError

SHARES = tuple(i / 10 for i in range(11))


@dataclass(frozen=True, eq=False)
class Curves:
    """The metric while the places of an attribution go; each of the two orders is run when it is first read.

    Attributes
    ----------
    shares : Tensor[k]
        Parts of each example's places that are gone, ascending from 0.
    board : Game
        The places, and what fills them.
    order : LongTensor[n, places]
        0 the largest.
    real : BoolTensor[n, places]
    """

    shares: Tensor
    board: Game
    order: Tensor
    real: Tensor

    @cached_property
    def most(self) -> Tensor:
        """The metric when the largest go first [k, n]."""
        return self._without(self.order)

    @cached_property
    def least(self) -> Tensor:
        """The metric when the smallest go first [k, n]."""
        return self._without(self.real.sum(1)[:, None] - 1 - self.order)

    def _without(self, order: Tensor) -> Tensor:
        count = (self.shares[:, None] * self.real.sum(1)).round().long()[..., None]  # [k, n, 1]
        return self.board.worth((order >= count) | ~self.real)

    @property
    def deletion(self) -> Tensor:
        """Area under the metric as the largest go [n]; lower is better (Petsiuk et al. 2018)."""
        return _area(self.shares, self.most)

    @property
    def insertion(self) -> Tensor:
        """Area under the metric as the largest come [n]; higher is better (Petsiuk et al. 2018)."""
        return _area(self.shares, self.least)

    @property
    def comprehensiveness(self) -> Tensor:
        """Mean drop without the largest [n]; higher is better (DeYoung et al. 2020)."""
        return self.most[0] - self.most[self._inner].mean(0)

    @property
    def sufficiency(self) -> Tensor:
        """Mean drop with the largest alone [n]; lower is better (DeYoung et al. 2020)."""
        return self.least[0] - self.least[self._inner].mean(0)

    @property
    def gap(self) -> Tensor:
        """Smallest gone less largest gone, mean over shares [n]; higher is better. Filled by `NoisyLinear`: ROAD."""
        return self.comprehensiveness - self.sufficiency

    @property
    def _inner(self) -> Tensor:
        return (self.shares > 0) & (self.shares < 1)


def perturbation_curves(
    subject: Any,
    task: Any,
    attribution: Attribution,
    *,
    shares: Sequence[float] = SHARES,
    baseline: Baseline | Imputer = "mean",
    at: str | None = None,
    metric: str | None = None,
    seed: int = 0,
) -> Curves:
    """Remove places in the order of an attribution and read the metric.

    ``most(s) = m(x without the s largest places)``, ``least(s) = m(x without the s smallest)``; what is gone is filled by the
    baseline. A place's attribution is the sum over its channels or units; ties fall at random.

    Parameters
    ----------
    subject : Subject
    task : Task
        The one that the attribution explains.
    attribution : Attribution
    shares : sequence of float, default 0, 0.1, ..., 1
        Parts of the places; 0 is added where it is missing.
    baseline : str, number, Tensor or Imputer
        "mean" (default), "zero", "blur", "corrupt", `Others`, `ConditionalGaussian`, `NoisyLinear` (ROAD).
    at : str, optional
        Site whose places go. Default: the attribution's; maps of other sites are interpolated.
    metric : str, optional
        Default: the one that was attributed.
    seed : int, default 0
        For ties, and imputers that draw.

    Returns
    -------
    Curves

    Raises
    ------
    SubjectMismatch
        When the attribution explains another subject or task.
    UsageError, SiteError, ShapeError, Degenerate, NonFinite

    Notes
    -----
    Null: a random order, whose two curves agree in expectation (`gap` 0).
    Misleads when filled inputs leave the data: the network may answer to the holes.

    Examples
    --------
    >>> from microtome.attribute import gradient
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> layer = torch.nn.Linear(3, 2, bias=False)
    >>> layer.weight.data = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    >>> subject, x = Subject(torch.nn.Sequential(layer)), torch.tensor([[1.0, 1.0, 2.0]])
    >>> task = Task("first class", x, -x, torch.tensor([0]), torch.tensor([1]), kind="image")
    >>> found = perturbation_curves(subject, task, gradient(subject, task, times="input"), shares=(1/3, 2/3, 1), baseline=0.0)
    >>> found.most[:, 0].tolist(), found.least[:, 0].tolist()
    ([1.0, -1.0, -2.0, 0.0], [1.0, 3.0, 2.0, 0.0])

    References
    ----------
    Petsiuk, Das, Saenko (2018), RISE; DeYoung et al. (2020), ERASER; Rong et al. (2022), A consistent and efficient evaluation
    strategy for attribution methods (ROAD).
    """
    board, scores, real = ranked(subject, task, attribution, baseline=baseline, at=at, metric=metric, seed=seed)
    return Curves(checked_shares(shares), board, ranks(scores, real, seed), real)


def ranked(
    subject: Any, task: Any, attribution: Attribution, *, baseline: Baseline | Imputer, at: str | None, metric: str | None,
    seed: int,
) -> tuple[Game, Tensor, Tensor]:  # fmt: skip
    """The game of a site's places, the attribution of each of them [n, places], and which are real [n, places]."""
    explained(subject, task, attribution)
    board = game(
        subject, task, at=at or attribution.site, baseline=baseline, metric=metric or attribution.settings.get("metric"),
        seed=seed,
    )  # fmt: skip
    scores, real = place_scores(subject, attribution, board)
    return board, scores, real


def checked_shares(shares: Sequence[float]) -> Tensor:
    """Ascending, from 0."""
    asked = torch.as_tensor(list(shares), dtype=torch.float64)
    if not len(asked) or not bool(((asked >= 0) & (asked <= 1)).all()) or bool((asked.diff() <= 0).any()):
        raise UsageError(f"shares must be ascending numbers between 0 and 1, got {list(shares)}.")
    return asked if float(asked[0]) == 0 else torch.cat([torch.zeros(1, dtype=torch.float64), asked])


def _area(shares: Tensor, values: Tensor) -> Tensor:
    if len(shares) < 2:
        raise UsageError("an area needs at least one share above 0.")
    return torch.trapezoid(values, shares, dim=0) / (shares[-1] - shares[0])

"""Retraining tests: is what a map marks enough, for a new network, to tell the classes? One engine, ROAR and DiffROAR."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.judge.curves import checked_shares
from microtome.attribute.judge.places import ranks, scores_on
from microtome.errors import ShapeError, UsageError
from microtome.rng import derive, torch_rng

if TYPE_CHECKING:
    import pandas as pd

#: (inputs, labels, seed) -> a fresh network, trained, that gives logits.
Train = Callable[[Tensor, Tensor, int], Callable[[Tensor], Tensor]]
#: A task with the attribution of each of its examples; its answers are the labels.
Part = tuple[Any, Attribution]


@dataclass(frozen=True, eq=False)
class Retrained:
    """Held-out accuracy of networks trained anew on parts of the inputs.

    Attributes
    ----------
    method : str
    shares : Tensor[k]
        Parts of the places that are kept (DiffROAR) or removed (ROAR).
    marked, rest : Tensor[k]
        DiffROAR: accuracy from the largest (smallest) places alone. ROAR: accuracy without the largest, without random ones.
    mask : Tensor[k]
        Accuracy from the mask of the largest places alone, no values: what the choice itself gives away.
    """

    method: str
    shares: Tensor
    marked: Tensor
    rest: Tensor
    mask: Tensor

    @property
    def difference(self) -> Tensor:
        """marked - rest [k]. DiffROAR: above 0 where large attributions mark what tells the classes. ROAR: below 0."""
        return self.marked - self.rest

    @property
    def table(self) -> "pd.DataFrame":
        """One row per share: share, marked, rest, difference, mask."""
        import pandas as pd

        columns = {"share": self.shares, "marked": self.marked, "rest": self.rest, "difference": self.difference,
                   "mask": self.mask}  # fmt: skip
        return pd.DataFrame({name: column.numpy() for name, column in columns.items()})


def diffroar(
    train: Part, test: Part, fit: Train, *, shares: Sequence[float] = (0.1, 0.3, 0.5), baseline: float = 0.0, seed: int = 0
) -> Retrained:
    """Train on the largest places alone and on the smallest alone, and compare.

    ``DiffROAR(k) = accuracy(kept: largest k) - accuracy(kept: smallest k)``, of networks trained and tested on such inputs.

    Parameters
    ----------
    train, test : (Task, Attribution)
        Labels are the answers.
    fit : callable
        (inputs, labels, seed) -> a trained network.
    shares : sequence of float
        Parts of the places that are kept.
    baseline : float, default 0.0
        What the others are set to.
    seed : int, default 0
        Of ties and training.

    Returns
    -------
    Retrained

    Raises
    ------
    UsageError, ShapeError, SiteError

    Notes
    -----
    Null: a random map has 0.
    Misleads when the mask gives the class away: compare `marked` with `mask`.

    References
    ----------
    Shah, Jain, Netrapalli (2021). Do Input Gradients Highlight Discriminative Features? https://arxiv.org/abs/2102.12781
    """

    def kept(part: Part, share: float, name: str) -> Tensor:
        order = _order(part, derive(seed, name))
        count = _count(order, share)
        return torch.stack([order < count, order >= order.shape[1] - count])

    return _retrained(train, test, fit, kept, shares, baseline, seed)


def roar(
    train: Part, test: Part, fit: Train, *, shares: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9), baseline: float = 0.0,
    seed: int = 0,
) -> Retrained:  # fmt: skip
    """Remove the largest places, train anew, and compare with removing random ones. Parameters as in `diffroar`.

    Notes
    -----
    Null: a random map has 0.
    Misleads when the mask of removed places gives the class away, and when the classes can be told from any part.

    References
    ----------
    Hooker, Erhan, Kindermans, Kim (2019). A Benchmark for Interpretability Methods in Deep Neural Networks.
    https://arxiv.org/abs/1806.10758
    """

    def kept(part: Part, share: float, name: str) -> Tensor:
        order = _order(part, derive(seed, name))
        other = torch.rand(order.shape, generator=torch_rng(seed, "roar", name)).argsort(dim=1)
        return torch.stack([order >= _count(order, share), other >= _count(order, share)])

    return _retrained(train, test, fit, kept, shares, baseline, seed)


def _retrained(
    train: Part, test: Part, fit: Train, kept: Callable[[Part, float, str], Tensor], shares: Sequence[float], baseline: float,
    seed: int,
) -> Retrained:  # fmt: skip
    asked = checked_shares(shares)[1:]
    if bool((asked == 1).any()) or not len(asked):
        raise UsageError(f"shares must lie between 0 and 1, got {list(shares)}.")
    rows = []
    for share in asked.tolist():
        masks = [_masks(part, kept(part, share, name)) for part, name in ((train, "train"), (test, "test"))]
        # Same seed for both sides, so that they differ in their inputs alone.
        made = derive(seed, "retraining", f"{share:.6f}")
        sides = [[torch.where(m[side], p[0].clean, baseline) for m, p in zip(masks, (train, test))] for side in (0, 1)]
        shown = [m[0].expand_as(p[0].clean).to(p[0].clean) for m, p in zip(masks, (train, test))]
        rows.append([_power(train, test, fit, inputs, made) for inputs in (*sides, shown)])
    return Retrained(train[1].method, asked, *torch.tensor(rows, dtype=torch.float64).T)


def _power(train: Part, test: Part, fit: Train, inputs: list[Tensor], seed: int) -> float:
    """Held-out accuracy of a network trained on changed inputs."""
    network = fit(inputs[0], torch.as_tensor(train[0].answers), seed)
    with torch.no_grad():
        return float((network(inputs[1]).argmax(-1) == torch.as_tensor(test[0].answers)).double().mean())


def _order(part: Part, seed: int) -> Tensor:
    task, attribution = part
    if not isinstance(task.clean, Tensor) or not task.clean.dtype.is_floating_point:
        raise UsageError(f"task '{task.name}' has {task.kind} inputs; retraining masks images or vectors.")
    if len(task) != len(attribution):
        raise ShapeError(f"task '{task.name}' has {len(task)} examples, its attribution {len(attribution)}.")
    sizes = list(task.clean.shape[2:] if task.clean.ndim > 2 else task.clean.shape[1:])
    scores = scores_on(attribution, sizes, "the input")
    return ranks(scores, torch.ones_like(scores, dtype=torch.bool), seed)


def _count(order: Tensor, share: float) -> int:
    return max(1, min(order.shape[1] - 1, round(share * order.shape[1])))


def _masks(part: Part, kept: Tensor) -> Tensor:
    """Masks [sides, n, places] in the shape of the inputs, [sides, n, 1, ...]."""
    x = part[0].clean
    return kept.view(len(kept), len(x), *([1, *x.shape[2:]] if x.ndim > 2 else x.shape[1:]))

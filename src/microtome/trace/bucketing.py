"""Bucketing: for which inputs does an alignment hold, and what tells them from the others?"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.evidence import Estimate, Finding, Null, Provenance
from microtome.method import Paper, method
from microtome.trace.alignment.basis import interchanged
from microtome.trace.alignment.score import require_aligned
from microtome.trace.alignment.suffix import Suffix
from microtome.trace.buckets import accuracy_of, best_bucket, explained, largest_by_chance

if TYPE_CHECKING:
    import pandas as pd

#: Pairs of one forward.
PAIRS = 4096


@dataclass(frozen=True, eq=False)
class Buckets:
    """A good sub-population of inputs for one hypothesis.

    Attributes
    ----------
    success : ndarray [n, n]
        1 where base i with source j gives the counterfactual label.
    counted : ndarray [n, n]
        1 for pairs whose label the unedited network does not give.
    inside : ndarray [n] of bool
        The bucket.
    null : ndarray
        Share of inputs in the best bucket of permuted successes.
    tree, accuracy, rule
        Decision tree from attributes to membership, its cross-validated balanced accuracy, its text; None, 0, "" without
        attributes or without a split.
    """

    success: np.ndarray
    counted: np.ndarray
    inside: np.ndarray
    null: np.ndarray
    eps: float
    tree: Any = field(default=None, repr=False)
    accuracy: float = 0.0
    rule: str = ""
    subject: str = ""
    data: str = ""
    seed: int = 0

    @property
    def coverage(self) -> float:
        """Share of the inputs in the bucket."""
        return float(self.inside.mean())

    @property
    def iia(self) -> dict[str, float]:
        """Accuracy over all counted pairs, inside the bucket, outside, and across."""
        where = {"all": (np.ones_like(self.inside),) * 2, "inside": (self.inside,) * 2, "outside": (~self.inside,) * 2,
                 "across": (self.inside, ~self.inside)}  # fmt: skip
        return {name: accuracy_of(self.success, self.counted, *sets) for name, sets in where.items()}

    @property
    def table(self) -> "pd.DataFrame":
        """One row per input: whether it is in the bucket, and its success as base and as source."""
        import pandas as pd

        seen = [np.maximum(self.counted.sum(axis), 1) for axis in (1, 0)]
        won = [(self.success * self.counted).sum(axis) for axis in (1, 0)]
        return pd.DataFrame({"input": np.arange(len(self.inside)), "inside": self.inside,
                             "as_base": won[0] / seen[0], "as_source": won[1] / seen[1]})  # fmt: skip

    def finding(self) -> Finding:
        """Coverage against the best bucket of permuted successes."""
        value = Estimate(self.coverage, n=len(self.inside), method=f"largest set with success at least {1 - self.eps:g}")
        about = Provenance(subject=self.subject, data=self.data, seed=self.seed)
        notes = (f"told by: {self.rule}",) if self.rule else ()
        return Finding("the alignment holds on a sub-population of the inputs", estimate=value, notes=notes,
                       nulls=(Null("successes permuted over pairs", self.null, self.coverage),),
                       controls={f"IIA {k}": v for k, v in self.iia.items()} | {"rule accuracy": self.accuracy},
                       table=self.table, provenance=about)  # fmt: skip

    def __repr__(self) -> str:
        iia = ", ".join(f"{k} {v:.2f}" for k, v in self.iia.items())
        return f"Buckets({self.inside.sum()} of {len(self.inside)} inputs; IIA {iia}; rule accuracy {self.accuracy:.2f})"


@method(
    question="trace",
    paper=Paper("Puyin, Tan, Jabbar, Icard, Geiger", 2026, "Bucketing the Good Apples: A Method for Diagnosing and Improving "
                "Causal Abstraction", "https://arxiv.org/abs/2605.02234"),
    needs=("subject", "task", "basis"),
    gives="Buckets (a Finding)",
    stochastic=True,
    cost="n^2 forwards of what follows the site; base and source values are taken once",
    claim="Pairwise interchanges tell the inputs that a hypothesis explains from those that it does not.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="That the bucket is a natural kind: replicate membership on fresh inputs.",
    tiny={"draws": 9},
)  # fmt: skip
def bucketing(
    subject: Any, inputs: Any, basis: Any, *, labels: Tensor, variables: list[str] | None = None, attributes: Any = None,
    eps: float = 0.05, depth: int = 2, draws: int = 19, seed: int = 0,
) -> Buckets:  # fmt: skip
    """Interchange every pair of inputs and find the largest set inside which the hypothesis holds.

    ``S_ij = [argmax N(x_i with the variables from x_j) == labels_ij]``; the bucket B is made by dropping the input with the
    lowest success until ``mean_{i,j in B} S_ij >= 1 - eps``. Pairs whose label the unedited network gives anyway
    succeed by doing nothing and are not counted. A decision tree on `attributes` says what the members share.

    Parameters
    ----------
    subject : Subject
    inputs : Tensor or Inputs
        n inputs, of equal length; not those of the fit.
    basis : Aligned
    labels : LongTensor [n, n]
        What the hypothesis gives for base i with the variables of source j; the diagonal is the answer to i itself.
    variables : list of str, optional
        Interchanged together. Default: all of the basis.
    attributes : DataFrame, optional
        Numbers that describe the inputs.
    eps : float, default 0.05
        Share of failures allowed inside.
    depth : int, default 2
        Of the tree.
    draws : int, default 19
        Permutations of the successes, as null: any matrix has some large block.
    seed : int, default 0
        Of the permutations.

    Returns
    -------
    Buckets
        ``inside``, ``coverage``, ``iia`` (all, inside, outside, across), ``rule``, ``table``, ``finding()``.

    Raises
    ------
    ShapeError, UsageError
        Labels that are not [n, n]; eps outside [0, 1); an unknown variable.
    Degenerate
        No pair whose answer would change.
    SubjectMismatch, NonFinite
        A basis of another subject; values that are no numbers.

    Notes
    -----
    Null: with successes permuted the largest bucket is a few percent of the inputs when many pairs fail.
    Misleads when the alignment is fitted again on the bucket that it defined: use fresh inputs.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.subject import Subject
    >>> from microtome.trace import AlignedLinear
    >>> subject = Subject(torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(2, 2)))
    >>> _ = subject.module[1].weight.data.copy_(torch.tensor([[1.0, 0], [-1.0, 0]])), subject.module[1].bias.data.zero_()
    >>> x = torch.tensor([[1.0, 0], [-1, 0], [2, 0], [-2, 0]])
    >>> labels = (x[:, 0] < 0).long().expand(4, 4)
    >>> found = bucketing(subject, x, AlignedLinear("0", torch.tensor([[1.0], [0.0]]), {"x": [0]}), labels=labels)
    >>> found.coverage, found.iia["inside"]
    (1.0, 1.0)

    References
    ----------
    Puyin, Tan, Jabbar, Icard, Geiger (2026). Bucketing the Good Apples: A Method for Diagnosing and Improving Causal
    Abstraction. https://arxiv.org/abs/2605.02234
    """
    require_aligned(basis, subject)
    given = subject.inputs(inputs)
    n = len(given)
    if tuple(labels.shape) != (n, n):
        raise ShapeError(f"labels must be [{n}, {n}], one for each base and source, got {list(labels.shape)}.")
    if not 0 <= eps < 1 or draws < 1:
        raise UsageError(f"eps must be in [0, 1) and draws at least 1, got {eps} and {draws}.")
    basis.units(*(variables or ()))
    suffix = Suffix(subject, given, basis.site, basis.position)
    counted = (labels.cpu() != suffix.logits.argmax(-1).cpu()[:, None]).double().numpy()
    if not counted.any():
        raise Degenerate("the unedited network gives every label, so every pair succeeds by doing nothing.")
    success = pairwise(suffix, basis, labels, variables or list(basis.blocks))
    inside = best_bucket(success, counted, eps)
    null = largest_by_chance(success, counted, eps, draws, seed)
    tree, accuracy, rule = None, 0.0, ""
    if attributes is not None and inside.any() and not inside.all():
        tree, accuracy, rule = explained(attributes, inside, depth)
    data = str(tuple(given.main.shape))
    return Buckets(success, counted, inside, null, eps, tree, accuracy, rule, subject.fingerprint(), data, seed)


def pairwise(suffix: Suffix, basis: Any, labels: Tensor, variables: list[str]) -> np.ndarray:
    """Successes [n, n] of all interchanges, base by source, from values taken once."""
    n = len(labels)
    found = torch.empty(n * n, dtype=torch.long)
    with torch.no_grad():
        for part in torch.arange(n * n).split(PAIRS):
            base, source = part // n, part % n
            sources = dict.fromkeys(variables, suffix.values[source])
            chosen = dict.fromkeys(variables, torch.ones(len(part), dtype=torch.bool, device=suffix.values.device))
            found[part] = suffix(interchanged(basis, suffix.values[base], sources, chosen), base).argmax(-1).cpu()
    return (found.view(n, n) == labels.cpu()).double().numpy()

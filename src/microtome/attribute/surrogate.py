"""Surrogate: a small tree in place of a network, with the columns it reads, its rules, and how faithful it is."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from microtome.attribute.surrogate_tree import Tree
from microtome.errors import FormatError, ShapeError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A decision tree on the leading columns of a table, grown on the answers of a network.

    Attributes
    ----------
    columns : LongTensor[k]
        The leading columns, best first.
    probe, sensitivity : Tensor[all columns]
        What they were ranked by.
    tree : Tree
    fidelity : float
        Share of held-out rows at which the tree answers as the network does.
    majority : float
        The same of the network's most frequent answer alone.
    """

    columns: Tensor
    probe: Tensor
    sensitivity: Tensor
    tree: Tree
    fidelity: float
    majority: float

    def predict(self, x: Tensor) -> Tensor:
        """The tree's classes [n] of rows [n, all columns]."""
        return torch.as_tensor(self.tree.predict(self._rows(x)))

    def counterfactuals(self, x: Tensor, *, confidence: float = 0.8, at_least: int = 0) -> tuple[Tensor, list[list[int]]]:
        """Rows [n, all columns] changed to another class of the tree, and the columns changed in each.

        Each row goes to the leaf of another class that takes fewest changes; leaves with a majority of at least `confidence`
        come first. The tree needs few changes, the network may need more: until `at_least` have changed, other columns take the
        leaf's mean as well, those first that weigh most in the network.
        """
        weights = self.probe.numpy()
        found = [self.tree.counterfactual(row, weights, confidence=confidence, at_least=at_least) for row in self._rows(x)]
        return torch.as_tensor(np.stack([row for row, _ in found])).to(x), [changed for _, changed in found]

    @property
    def rules(self) -> "pd.DataFrame":
        """One row per leaf: rule, answer, support (share of rows), confidence; the best supported first."""
        import pandas as pd

        total = float(self.tree.counts[0].sum())
        rows = []
        for leaf, box in self.tree.boxes():
            counts = self.tree.counts[leaf]
            rows.append((_words(box), int(counts.argmax()), counts.sum() / total, counts.max() / max(counts.sum(), 1e-12)))
        found = pd.DataFrame(rows, columns=["rule", "answer", "support", "confidence"])
        return found.sort_values("support", ascending=False, ignore_index=True, kind="stable")

    def path(self, row: Tensor) -> str:
        """The rule that decides one row."""
        leaf = int(self.tree.leaves(self._rows(row[None]))[0])
        return next(_words(box) for at, box in self.tree.boxes() if at == leaf)

    @property
    def table(self) -> "pd.DataFrame":
        """One row per leading column: column, probe, sensitivity."""
        import pandas as pd

        at = self.columns
        values = {"column": at, "probe": self.probe[at], "sensitivity": self.sensitivity[at]}
        return pd.DataFrame({name: value.numpy() for name, value in values.items()})

    def _rows(self, x: Tensor) -> np.ndarray:
        if x.ndim != 2 or x.shape[1] != len(self.probe):
            raise ShapeError(f"rows must be [n, {len(self.probe)}], got {list(x.shape)}.")
        return x.detach().cpu().double().numpy()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        tree = {f.name: getattr(self.tree, f.name).tolist() for f in fields(Tree)}
        parts = {name: getattr(self, name).tolist() for name in ("columns", "probe", "sensitivity")}
        return {"format": "microtome.surrogate", "tree": tree, **parts, "fidelity": self.fidelity, "majority": self.majority}

    @classmethod
    def from_json(cls, stored: Any) -> "Surrogate":
        """Read what `to_json` wrote.

        Raises
        ------
        FormatError
            When it is something else, or the tree does not hang together.
        """
        if not isinstance(stored, dict) or stored.get("format") != "microtome.surrogate":
            raise FormatError("this is no microtome surrogate.")
        try:
            whole = {"column", "left", "right", "used"}
            tree = Tree(**{f.name: np.asarray(stored["tree"][f.name], dtype=int if f.name in whole else float)
                           for f in fields(Tree)})  # fmt: skip
            nodes, inner = len(tree.column), tree.column >= 0
            below = np.concatenate([tree.left[inner], tree.right[inner]])
            parents = np.concatenate([np.flatnonzero(inner)] * 2)
            if nodes == 0 or (below <= parents).any() or (below >= nodes).any() or (tree.column >= len(stored["probe"])).any():
                raise FormatError("a damaged surrogate: a tree whose nodes do not follow each other.")
            if not set(tree.column[inner]) <= set(tree.used) or tree.counts.shape[0] != nodes:
                raise FormatError("a damaged surrogate: a tree of columns that it was not given.")
            return cls(torch.tensor(stored["columns"], dtype=torch.long), torch.tensor(stored["probe"], dtype=torch.float64),
                       torch.tensor(stored["sensitivity"], dtype=torch.float64), tree, float(stored["fidelity"]),
                       float(stored["majority"]))  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"a damaged surrogate: {error}") from error

    def __repr__(self) -> str:
        leaves = int((self.tree.column < 0).sum())
        return (
            f"Surrogate({leaves} leaves on {len(self.columns)} of {len(self.probe)} columns; answers as the network in "
            f"{self.fidelity:.1%} of held-out rows, its most frequent answer in {self.majority:.1%})"
        )


def _words(box: dict[int, tuple[float, float]]) -> str:
    parts = []
    for c, (low, high) in sorted(box.items()):
        left = f"{low:.4g} < " if low > -np.inf else ""
        right = f" <= {high:.4g}" if high < np.inf else ""
        parts.append(f"{left}x{c}{right}")
    return " and ".join(parts) or "always"

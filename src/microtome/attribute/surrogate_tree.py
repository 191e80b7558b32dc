"""A decision tree as plain arrays: predictions, paths, rules and counterfactuals without the library that grew it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Tree:
    """Nodes in the order of growth; node 0 is the root.

    Attributes
    ----------
    column, threshold : array[nodes]
        Rows with ``x[column] <= threshold`` go left; column -1 at leaves.
    left, right : array[nodes]
    counts : array[nodes, classes]
        Rows of each class that grew the node.
    centre : array[nodes, columns used]
        Their mean in each of `used`.
    used : array
        Columns that the tree was given.
    spread : array
        Their standard deviations.
    """

    column: Array
    threshold: Array
    left: Array
    right: Array
    counts: Array
    centre: Array
    used: Array
    spread: Array

    def leaves(self, x: Array) -> Array:
        """The leaf of each row [n, columns]."""
        x = np.asarray(x, dtype=np.float32)  # as the tree was grown
        at = np.zeros(len(x), dtype=int)
        while (inner := self.column[at] >= 0).any():
            column, rows = self.column[at], np.arange(len(x))
            go = np.where(x[rows, np.maximum(column, 0)] <= self.threshold[at], self.left[at], self.right[at])
            at = np.where(inner, go, at)
        return at

    def predict(self, x: Array) -> Array:
        """The class of each row."""
        return self.counts.argmax(1)[self.leaves(x)]

    def boxes(self) -> list[tuple[int, dict[int, tuple[float, float]]]]:
        """Each leaf with the interval (low, high] that its path leaves to each column."""
        found, open_nodes = [], [(0, {})]
        while open_nodes:
            node, box = open_nodes.pop()
            c = int(self.column[node])
            if c < 0:
                found.append((node, box))
                continue
            low, high = box.get(c, (-np.inf, np.inf))
            at = float(self.threshold[node])
            open_nodes.append((int(self.right[node]), {**box, c: (max(low, at), high)}))
            open_nodes.append((int(self.left[node]), {**box, c: (low, min(high, at))}))
        return found

    def counterfactual(self, row: Array, weights: Array, *, confidence: float, at_least: int) -> tuple[Array, list[int]]:
        """The row moved to a leaf of another class with fewest changes, and the columns changed: they take the leaf's means.

        Leaves whose majority is at least `confidence` come first; among equals the shortest way. Where more columns must change
        than the tree needs, those with the largest ``weight * way / spread`` do, and among equals the largest sum of these.
        """
        mine = int(self.predict(row[None])[0])
        place = {int(c): i for i, c in enumerate(self.used)}
        best: tuple[tuple[bool, int, float], int, list[int]] | None = None
        for leaf, box in self.boxes():
            total = self.counts[leaf].sum()
            if int(self.counts[leaf].argmax()) == mine or total == 0:
                continue
            way = np.abs(self.centre[leaf] - row[self.used]) / np.maximum(self.spread, 1e-12)
            changed = [c for c, (low, high) in box.items() if not low < np.float32(row[c]) <= high]
            needed = len(changed)
            gain = weights[self.used] * way
            along = [int(self.used[i]) for i in np.argsort(-gain, kind="stable") if int(self.used[i]) not in changed]
            changed = changed + along[: max(0, at_least - needed)]
            at = [place[c] for c in changed]
            rank = float(way[at].sum()) if len(changed) == needed else -float(gain[at].sum())
            order = (bool(self.counts[leaf].max() / total < confidence), len(changed), rank)
            if best is None or order < best[0]:
                best = order, leaf, changed
        new = row.copy()
        if best is None:
            return new, []
        _, leaf, changed = best
        new[changed] = self.centre[leaf, [place[c] for c in changed]]
        return new, changed


def grow(x: Array, y: Array, columns: Array, *, depth: int, seed: int, classes: int) -> Tree:
    """A tree of at most `depth` splits on some columns of rows [n, all columns]; leaves hold 5 rows or more."""
    from sklearn.tree import DecisionTreeClassifier

    from microtome.rng import derive

    part = np.asarray(x[:, columns], dtype=np.float32)
    grown = DecisionTreeClassifier(max_depth=depth, min_samples_leaf=5, random_state=derive(seed, "tree") % 2**31)
    inside = grown.fit(part, y).decision_path(part)
    tree = grown.tree_
    hot = np.eye(classes)[y]
    sizes = np.asarray(inside.sum(0)).ravel()[:, None]
    leaf = tree.children_left < 0
    return Tree(
        np.where(leaf, -1, np.asarray(columns)[np.maximum(tree.feature, 0)]), np.where(leaf, 0.0, tree.threshold),
        np.asarray(tree.children_left), np.asarray(tree.children_right), np.asarray(inside.T @ hot),
        np.asarray(inside.T @ part) / sizes, np.asarray(columns), part.std(0),
    )  # fmt: skip

"""Which inputs does an alignment explain? The mathematics of good sub-populations, on a matrix of pairwise successes."""

from typing import Any

import numpy as np

from microtome.errors import Degenerate, ShapeError
from microtome.rng import rng


def best_bucket(success: np.ndarray, weight: np.ndarray, eps: float, least: int = 2) -> np.ndarray:
    """A large set of inputs whose pairs succeed: drop the input with the lowest success until the mean is 1 - eps.

    Parameters
    ----------
    success : ndarray [n, n]
        1 where the interchange of base i and source j gives the counterfactual label.
    weight : ndarray [n, n]
        0 for pairs that are left out (those whose answer cannot change), else 1.
    eps : float
    least : int
        The smallest set that counts; smaller ones are returned as empty.

    Returns
    -------
    ndarray [n] of bool
    """
    inside = np.ones(len(success), dtype=bool)
    won, seen = success * weight, weight.astype(float)
    rows_won, rows_seen = won.sum(1) + won.sum(0), seen.sum(1) + seen.sum(0)
    total_won, total_seen = won.sum(), seen.sum()
    while inside.sum() >= least:
        if total_seen > 0 and total_won >= (1 - eps) * total_seen:
            return inside
        share = np.where(inside, (rows_won + 1e-9) / (rows_seen + 1e-9), np.inf)
        share[inside & (rows_seen == 0)] = 1.0
        worst = int(share.argmin())
        inside[worst] = False
        total_won -= (won[worst, inside].sum() + won[inside, worst].sum()) + won[worst, worst]
        total_seen -= (seen[worst, inside].sum() + seen[inside, worst].sum()) + seen[worst, worst]
        rows_won -= won[worst] + won[:, worst]
        rows_seen -= seen[worst] + seen[:, worst]
    return np.zeros(len(success), dtype=bool)


def largest_by_chance(success: np.ndarray, weight: np.ndarray, eps: float, draws: int, seed: int) -> np.ndarray:
    """Sizes (shares of the inputs) of the best bucket when the successes are dealt out anew over the pairs [draws]."""
    generator, counted = rng(seed, "bucketing"), weight > 0
    sizes = []
    for _ in range(draws):
        dealt = success.copy()
        dealt[counted] = generator.permutation(success[counted])
        sizes.append(best_bucket(dealt, weight, eps).mean())
    return np.array(sizes)


def accuracy_of(success: np.ndarray, weight: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> float:
    """Mean success over the counted pairs of `rows` x `columns`; 0 where there are none."""
    block = np.ix_(rows, columns)
    seen = weight[block].sum()
    return float((success[block] * weight[block]).sum() / seen) if seen else 0.0


def membership(success: np.ndarray, weight: np.ndarray, bucket: np.ndarray) -> np.ndarray:
    """For each input (row: fresh inputs as base, columns: the known ones), success with the members of a bucket [n]."""
    seen = weight[:, bucket].sum(1)
    return (success * weight)[:, bucket].sum(1) / np.maximum(seen, 1)


def explained(attributes: Any, bucket: np.ndarray, depth: int) -> tuple[Any, float, str]:
    """A decision tree from attributes of the inputs to membership: tree, balanced accuracy in cross-validation, its rules.

    Raises
    ------
    ShapeError, Degenerate
        Attributes of another length; a bucket that holds all or nothing.
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier, export_text

    if len(attributes) != len(bucket):
        raise ShapeError(f"{len(attributes)} rows of attributes for {len(bucket)} inputs.")
    if bucket.all() or not bucket.any():
        raise Degenerate("the bucket holds all inputs or none: there is no split to explain.")
    values = np.asarray(attributes, dtype=float)
    tree = DecisionTreeClassifier(max_depth=depth, random_state=0)
    folds = min(5, int(bucket.sum()), int((~bucket).sum()))
    guess = bucket
    if folds > 1:
        guess = cross_val_predict(tree, values, bucket, cv=StratifiedKFold(folds, shuffle=True, random_state=0))
    tree.fit(values, bucket)
    accuracy = 0.5 * (float(guess[bucket].mean()) + float((~guess[~bucket]).mean()))
    return tree, accuracy, export_text(tree, feature_names=list(attributes.columns)).strip()

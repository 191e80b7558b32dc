"""Two-way choices explained by differences: logistic regression with intervals, and how well held-out choices are foreseen."""

import numpy as np

from microtome.errors import Degenerate, NonFinite, ShapeError, UsageError
from microtome.rng import rng

#: Log-odds beyond which a fit counts as separable, and Newton steps at most.
LARGEST, STEPS = 30.0, 50


def checked_choices(choices: object, n: int) -> np.ndarray:
    """Choices as bool[n], True where the first image was chosen."""
    y = np.asarray(choices)
    if y.shape != (n,):
        raise ShapeError(f"choices must be one per triplet, [{n}], got {list(y.shape)}.")
    if not np.isin(y, (0, 1)).all():
        raise UsageError("choices must be True or 1 where the first image was chosen, else False or 0.")
    return y.astype(bool)


def logistic(x: np.ndarray, choices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maximum likelihood of ``P(choice) = sigmoid(b0 + x b)`` by Newton steps: weights [1 + k] and their covariance.

    Parameters
    ----------
    x : ndarray [n, k]
    choices : bool ndarray [n]

    Raises
    ------
    Degenerate
        When both choices do not occur, columns repeat each other, or x tells the choices without error (no finite maximum).
    NonFinite
    """
    if not np.isfinite(x).all():
        raise NonFinite("differences hold NaN or infinity; choices cannot be explained by them.")
    if choices.all() or not choices.any():
        raise Degenerate("all choices are the same: there is nothing to explain.")
    design = np.column_stack([np.ones(len(x)), x])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise Degenerate("differences are constant or repeat each other, so their weights cannot be told apart.")
    weights = np.zeros(design.shape[1])
    for _ in range(STEPS):
        odds = design @ weights
        if np.abs(odds).max() > LARGEST:
            break
        p = 1 / (1 + np.exp(-odds))
        hessian = (design * (p * (1 - p))[:, None]).T @ design
        step = np.linalg.solve(hessian, design.T @ (choices - p))
        weights = weights + step
        if np.abs(step).max() < 1e-9:
            return weights, np.linalg.inv(hessian)
    raise Degenerate("the differences tell the choices without error: weights have no finite maximum; use more choices.")


def held_out(x: np.ndarray, choices: np.ndarray, *, folds: int = 5, seed: int = 0) -> np.ndarray:
    """Log-probability of each choice under a fit to the other folds: [n]; log(1/2) is a coin.

    Raises
    ------
    UsageError
        When there are fewer than two folds, or more than choices.
    Degenerate, NonFinite
        As `logistic`.
    """
    if not 2 <= folds <= len(x):
        raise UsageError(f"folds must be in 2..{len(x)} (the number of choices), got {folds!r}.")
    fold = rng(seed, "choice folds").permutation(len(x)) % folds
    found = np.zeros(len(x))
    for k in range(folds):
        weights, _ = logistic(x[fold != k], choices[fold != k])
        odds = weights[0] + x[fold == k] @ weights[1:]
        found[fold == k] = -np.logaddexp(0, np.where(choices[fold == k], -odds, odds))
    return found

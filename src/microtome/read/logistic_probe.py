"""A regularised logistic probe."""

import warnings
from typing import Any

import numpy as np

from microtome.method import Paper, method
from microtome.read.directions import direction_basis
from microtome.read.labelled import labelled
from microtome.subject.basis import Linear


@method(
    question="read",
    paper=Paper("Alain, Bengio", 2016, "Understanding intermediate layers using linear classifier probes",
                "https://arxiv.org/abs/1610.01644"),
    needs=("recording", "labels"),
    gives="Basis",
    stochastic=True,
    cost="O(rows * d) per iteration of L-BFGS",
    claim="A linear classifier on activations tells a property on unseen documents.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="That the network uses what the probe reads: probes read much from random networks too.",
)  # fmt: skip
def logistic_probe(recording: Any, label: str, *, penalty: float = 1.0, share: float = 0.5, seed: int = 0) -> Linear:
    """Fit a logistic classifier of a property on standardised activations.

    ``min_w sum log(1 + exp(-y (w.s + b))) + penalty/2 |w|^2``, s = standardised x; classes weighted to balance.

    Parameters
    ----------
    recording : Recording
        One site, with labels.
    label : str
        The property.
    penalty : float, default 1.0
        L2 strength, on standardised units.
    share : float, default 0.5
        Part of the documents used for fitting; the rest judges.
    seed : int, default 0
        Of the split.

    Returns
    -------
    Linear
        One coordinate, the log-odds up to scale, 0 at even odds; ``.metrics`` holds held-out auroc and accuracies.

    Raises
    ------
    UsageError, Degenerate, NonFinite
        No such property; one class missing in a half; a value that is not a number.

    Notes
    -----
    Null: shuffled labels give held-out AUROC near 0.5; a random network gives much more for properties of the current
    token. Use both (`probe_test`, `subject.twin`).
    Misleads when the probe is strong and the data small: it then reads what the network does not use.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> g = np.random.default_rng(0); y = g.random(300) < 0.5
    >>> x = g.normal(size=(300, 5)); x[:, 2] += 4 * y
    >>> probe = logistic_probe(Recording.of(torch.tensor(x), site="mlp", labels={"red": y}), "red")
    >>> probe.metrics["auroc"] > 0.95
    True

    References
    ----------
    Alain, Bengio (2016). Understanding intermediate layers using linear classifier probes. https://arxiv.org/abs/1610.01644
    """
    data = labelled(recording, label, share=share, seed=seed)
    weights, bias = fit_logistic(data.x[data.fit], data.y[data.fit], penalty)
    # A point on the boundary, so that z = 0 means even odds.
    offset = data.x[data.fit].mean(axis=0)
    offset = offset - (offset @ weights + bias) / max(float(weights @ weights), 1e-12) * weights
    return direction_basis(data, weights, offset, name="logistic_probe", label=label)


def fit_logistic(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """Weights [d] and bias on the raw scale of x, fitted on standardised x with balanced classes."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean, spread = x.mean(axis=0), x.std(axis=0)
    spread = np.where(spread > 1e-12, spread, 1.0)
    model = LogisticRegression(C=1 / max(penalty, 1e-12), class_weight="balanced", max_iter=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((x - mean) / spread, y)
    weights = model.coef_[0] / spread
    return weights, float(model.intercept_[0] - mean @ weights)

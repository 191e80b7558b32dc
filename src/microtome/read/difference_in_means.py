"""The direction between two class means."""

from typing import Any

from microtome.method import Paper, method
from microtome.read.directions import direction_basis
from microtome.read.labelled import labelled
from microtome.subject.basis import Linear


@method(
    question="read",
    paper=Paper("Marks, Tegmark", 2023, "The Geometry of Truth: Emergent Linear Structure in Large Language Model "
                "Representations of True/False Datasets", "https://arxiv.org/abs/2310.06824"),
    needs=("recording", "labels"),
    gives="Basis",
    stochastic=True,
    cost="O(rows * d)",
    claim="The difference of class means separates the classes on unseen documents and is a good direction to intervene on.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="That the network uses the direction; steer or ablate it to see.",
)  # fmt: skip
def difference_in_means(recording: Any, label: str, *, share: float = 0.5, seed: int = 0) -> Linear:
    """Find the direction from the mean without a property to the mean with it.

    ``w = mean(x | y=1) - mean(x | y=0)``; the coordinate is 0 midway between the means.

    Parameters
    ----------
    recording : Recording
        One site, with labels.
    label : str
        The property.
    share : float, default 0.5
        Part of the documents used for the means; the rest judges.
    seed : int, default 0
        Of the split.

    Returns
    -------
    Linear
        One coordinate; ``.metrics`` holds held-out auroc, accuracy, balanced_accuracy.

    Raises
    ------
    UsageError, Degenerate, NonFinite
        No such property; one class missing in a half; a value that is not a number.

    Notes
    -----
    Null: shuffled labels give a random direction with held-out AUROC near 0.5 (`probe_test`).
    Misleads when another property goes along with this one: the direction then holds both.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from microtome.subject.recording import Recording
    >>> g = np.random.default_rng(0); y = g.random(300) < 0.5
    >>> x = g.normal(size=(300, 5)); x[:, 2] += 4 * y
    >>> basis = difference_in_means(Recording.of(torch.tensor(x), site="mlp", labels={"red": y}), "red")
    >>> int(basis.directions.abs().argmax()), basis.metrics["auroc"] > 0.95
    (2, True)

    References
    ----------
    Marks, Tegmark (2023). The Geometry of Truth: Emergent Linear Structure in Large Language Model Representations of
    True/False Datasets. https://arxiv.org/abs/2310.06824
    """
    data = labelled(recording, label, share=share, seed=seed)
    x, y = data.x[data.fit], data.y[data.fit]
    high, low = x[y].mean(axis=0), x[~y].mean(axis=0)
    return direction_basis(data, high - low, (high + low) / 2, name="difference_in_means", label=label)

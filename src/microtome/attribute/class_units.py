"""Class units: the few channels whose responses make a class, by a constrained lasso."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.attribute.ends import counted
from microtome.attribute.responses import mu_lasso, response_sites, responses
from microtome.errors import Degenerate, UsageError
from microtome.evidence import Finding, Null, Provenance, bootstrap
from microtome.method import Paper, method
from microtome.rng import rng

#: Weights below this share of a class's largest count as 0.
NEGLIGIBLE = 0.01
#: Refits on resampled pictures, for the stability of the choice.
REFITS = 10


@method(
    question="attribute",
    paper=Paper("Oramas, Wang, Tuytelaars", 2019, "Visual Explanation by Interpretation: Improving Visual Feedback "
                "Capabilities of Deep Neural Networks", "https://arxiv.org/abs/1712.06302"),
    needs=("subject", "task", "images"),
    gives="Finding",
    stochastic=True,
    cost="one forward; steps * channels^2 * classes per fit, draws + 11 fits",
    claim="A few channels of a network, found by a sparse linear fit, say its classes and carry them.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="That other channels are idle: of several that respond alike the fit keeps one.",
    tiny={"steps": 100, "draws": 19},
    skips={"batch": "a finding about all examples has no row per example"},
)  # fmt: skip
def class_units(
    subject: Any,
    task: Any,
    *,
    sites: Sequence[str] | None = None,
    mu: float = 10.0,
    steps: int = 300,
    draws: int = 19,
    alpha: float = 0.05,
    seed: int = 0,
) -> Finding:
    """Fit classes on the response norms of all channels, with the weights of each class in a small l1 ball.

    ``min_W |X W - L|^2`` subject to ``|w_c|_1 <= mu``; x of a picture is the L2 norm of every channel's map, each layer scaled
    to length 1, L is one-hot. Channels with a weight stand for the class.

    Parameters
    ----------
    subject : Subject
        A network with feature maps.
    task : Task
        Pictures with their classes as answers. Half of them is fitted on, the other half judges.
    sites : sequence of str, optional
        Sites with channels and places; default the outputs of all activations.
    mu : float, default 10.0
        Radius of the ball (the paper's; smaller keeps fewer channels).
    steps : int, default 300
        Of projected gradient.
    draws : int, default 19
        Of the null.
    alpha : float, default 0.05
    seed : int, default 0

    Returns
    -------
    Finding
        Table, one row per class and channel kept: class, site, channel, weight, stability (share of refits on resampled
        pictures that keep it). Estimate: variance of the labels explained on the other half. Null: labels shuffled before the
        fit (a fit on shuffled labels can name a few clear classes right by luck, so accuracy would be a poor statistic).
        Controls: accuracy with and without shuffling, the largest share of channels that a class keeps.

    Raises
    ------
    UsageError, SiteError, NonFinite
    Degenerate
        With fewer than two classes, or four pictures.

    Notes
    -----
    Null: with shuffled labels nothing is explained, and channels are kept all the same.
    Misleads when channels respond alike: look at the stability.

    Examples
    --------
    >>> from microtome.testing.worlds.class_units import world
    >>> planted = world(0)
    >>> found = class_units(planted.subject, planted.task, mu=0.8)
    >>> kept = found.table[found.table["weight"] > 0]
    >>> kept[["class", "channel"]].values.tolist() == [[c, planted.channels[c]] for c in range(3)]
    True

    References
    ----------
    Oramas, Wang, Tuytelaars (2019). Visual Explanation by Interpretation: Improving Visual Feedback Capabilities of Deep
    Neural Networks. https://arxiv.org/abs/1712.06302
    """
    import pandas as pd

    counted("steps", steps)
    if not mu > 0:
        raise UsageError(f"mu must be above 0, got {mu!r}.")
    bound = subject.bind(task)
    x, names = responses(subject, bound.inputs, response_sites(subject, sites))
    x, labels = x.double(), bound.answers.cpu()
    classes = int(labels.max()) + 1
    if len(labels.unique()) < 2 or len(x) < 4:
        raise Degenerate(f"{len(x)} pictures of {len(labels.unique())} classes: a fit needs four of two.")
    stream = rng(seed, "class units")
    order = torch.from_numpy(stream.permutation(len(x)))
    fitted, held = order[: len(x) // 2], order[len(x) // 2 :]
    one_hot = torch.nn.functional.one_hot(labels, classes).double()
    weights = mu_lasso(x[fitted], one_hot[fitted], mu, steps)
    kept = _kept(weights)

    spread = float((one_hot[held] - one_hot[held].mean(0)).square().sum(1).mean())

    def judged(fit: Tensor) -> tuple[np.ndarray, float]:
        made = x[held] @ fit
        explained = 1 - (made - one_hot[held]).square().sum(1) / max(spread, 1e-12)
        return explained.numpy(), float((made.argmax(1) == labels[held]).double().mean())

    by_chance = []
    for _ in range(draws):
        mixed = fitted[torch.from_numpy(stream.permutation(len(fitted)))]
        explained, right = judged(mu_lasso(x[fitted], one_hot[mixed], mu, steps))
        by_chance.append((float(explained.mean()), right))
    again = torch.zeros_like(weights)
    for _ in range(REFITS):
        drawn = fitted[torch.from_numpy(stream.integers(0, len(fitted), len(fitted)))]
        again += _kept(mu_lasso(x[drawn], one_hot[drawn], mu, steps))
    rows = [(c, *names[k], float(weights[k, c]), float(again[k, c]) / REFITS)
            for c in range(classes) for k in kept[:, c].nonzero().flatten().tolist()]  # fmt: skip
    table = pd.DataFrame(rows, columns=["class", "site", "channel", "weight", "stability"])
    explained, right = judged(weights)
    found = bootstrap(explained, seed=seed)
    return Finding(
        f"few channels of {subject.name} say the classes of '{task.name}'", estimate=found,
        nulls=(Null("labels shuffled before the fit", [r for r, _ in by_chance], found.value, "greater"),),
        controls={"accuracy": right, "accuracy, labels shuffled": float(np.mean([a for _, a in by_chance])),
                  "largest share of channels kept": float(kept.double().mean(0).max())}, table=table, alpha=alpha,
        provenance=Provenance(subject=subject.fingerprint(), data=task.fingerprint(), seed=seed, forwards=1.0),
    )  # fmt: skip


def _kept(weights: Tensor) -> Tensor:
    return weights.abs() > NEGLIGIBLE * weights.abs().amax(0, keepdim=True).clamp(min=1e-12)

"""Which terms of a theory does a representation hold? Its components against human-made terms, each beside the others."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from microtome.decompose.data import require_count, survey
from microtome.decompose.pca import pca
from microtome.errors import Degenerate, NonFinite, ShapeError, UsageError
from microtome.evidence import Estimate, Finding, Null, Provenance
from microtome.method import Paper, method
from microtome.rng import rng

#: Share of a term's variance that the other terms must leave.
OWN = 1e-8


@method(
    question="decompose",
    paper=Paper(
        "Kitouni et al.", 2024, "From Neurons to Neutrons: A Case Study in Interpretability", "https://arxiv.org/abs/2405.17425",
    ),
    needs=("recording", "values"),
    gives="Finding",
    stochastic=True,
    cost="one PCA, then O((1 + draws) * rows * components^2)",
    claim="Low-dimensional representations of a network trained on nuclear data hold the terms of the physicists' formula.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That the network computes with the terms: flip or move a component and see whether predictions follow.",
    tiny={"draws": 39},
)  # fmt: skip
def neurons_to_neutrons(
    recording: Any, terms: Mapping[str, Any], *, components: int = 8, folds: int = 5, draws: int = 99, seed: int = 0
) -> Finding:
    """Regress the terms of a theory on the leading components of a representation, out of sample.

    ``R2 = 1 - sum (t - c B)^2 / sum (t - mean t)^2`` over rows that B was not fitted on, c the components; partial R2 is the
    same for what of t the other terms (linearly, with a constant) do not give: collinear terms match everything smooth.

    Parameters
    ----------
    recording : Recording
        One site: a row per item (a nucleus; an entry of an embedding table).
    terms : mapping of str to array [rows]
        Two or more quantities that a theory builds from, in the order of the rows.
    components : int
        Principal components that are looked at. Default 8.
    folds : int
        Of the cross-validation. Default 5.
    draws : int
        Draws of the null. Default 99.
    seed : int
        Of folds and null. Default 0.

    Returns
    -------
    Finding
        The claim: the components hold the terms, each beyond the others. Table, a row per term: r2, partial, p (of partial),
        component (the one that follows the term's own part most), share (squared correlation with it). Estimate: mean r2.

    Raises
    ------
    UsageError
        A size out of range, or fewer than two terms.
    ShapeError
        Terms that do not fit the rows.
    NonFinite
        When the recording or a term holds NaN or infinity.
    Degenerate
        When rows do not vary, are too few for the folds, or a term is a sum of the others.

    Notes
    -----
    Null: the terms' rows permuted together; the mean partial R2. Values that have nothing to do with the terms are supported
    at rate alpha.
    Misleads when r2 is read alone: an untrained network's components give smooth terms, too. Compare it, and read `partial`.

    Examples
    --------
    >>> from microtome.subject.recording import Recording
    >>> g = np.random.default_rng(0)
    >>> size, odd = g.random(200), g.integers(0, 2, 200)
    >>> x = np.stack([size, size**2, odd, g.random(200)], 1) @ g.normal(size=(4, 6))
    >>> found = neurons_to_neutrons(Recording.of(torch.tensor(x), site="h"), {"size": size, "odd": odd}, components=4)
    >>> found.verdict, bool((found.table["partial"] > 0.99).all())
    ('supported', True)

    References
    ----------
    Kitouni et al. (2024). From Neurons to Neutrons: A Case Study in Interpretability. https://arxiv.org/abs/2405.17425
    """
    about = survey(recording)
    components = require_count(components, about.width, "components")
    t = _terms(terms, about.rows)
    if draws < 1 or not 2 <= folds <= about.rows or about.rows < folds * (components + 2):
        raise Degenerate(
            f"{about.rows} rows, {folds} folds, {components} components, {draws} draws: folds >= 2 and draws >= 1 are needed, "
            "and per fold two rows more than components."
        )
    c = pca(recording, components=components).encode(recording.matrix().double()).detach().double().cpu().numpy()
    c = c / np.where(c.std(0) > 0, c.std(0), 1.0)
    own = _own(t, list(terms))
    stream = rng(seed, "decompose", "neurons_to_neutrons")
    fold = stream.permutation(about.rows) % folds
    partial = held_out(c, own, fold)
    chance = np.array([held_out(c, own[stream.permutation(about.rows)], fold) for _ in range(draws)])
    follows = np.corrcoef(c.T, own.T)[: c.shape[1], c.shape[1] :] ** 2
    columns = {
        "term": list(terms), "r2": held_out(c, t, fold), "partial": partial,
        "p": (1 + (chance >= partial).sum(0)) / (1 + draws), "component": follows.argmax(0), "share": follows.max(0),
    }  # fmt: skip
    import pandas as pd

    return Finding(
        f"{components} components hold {len(terms)} terms, each beyond the others",
        estimate=Estimate(float(columns["r2"].mean()), n=about.rows, unit="R2", method=f"{folds}-fold, mean over terms"),
        nulls=(Null("rows of the terms permuted", chance.mean(1), float(partial.mean())),),
        controls={"partial": float(partial.mean()), "worst_partial": float(partial.min())},
        table=pd.DataFrame(columns), provenance=Provenance(subject=about.subject, data=about.site, seed=seed),
        notes=("r2 of smooth terms is high for any smooth representation: read partial, and an untrained network's.",),
    )  # fmt: skip


def held_out(c: np.ndarray, t: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """R2 of least squares from c [n, k] to each column of t [n, m] on rows of other folds than those it was fitted on: [m]."""
    design, predicted = np.concatenate([c, np.ones((len(c), 1))], 1), np.zeros_like(t)
    for f in np.unique(fold):
        inside = fold == f
        predicted[inside] = design[inside] @ np.linalg.lstsq(design[~inside], t[~inside], rcond=None)[0]
    return 1 - np.square(t - predicted).sum(0) / np.square(t - t.mean(0)).sum(0)


def helix(values: Any, numbers: Any, periods: Sequence[float]) -> tuple[float, float, float]:
    """The best period of a helix with two strands through a table of embeddings, and the variance it gives.

    Least squares of ``values[n, d]`` on ``1, n, (-1)^n`` and, for each of `periods`, ``cos, sin (2 pi n / period)``.

    Returns
    -------
    period, share, without
        Of the variance of all columns, with the circle of the best period and without any.

    Examples
    --------
    >>> n = np.arange(40)
    >>> turn = np.stack([n / 10, np.cos(2 * np.pi * n / 8), np.sin(2 * np.pi * n / 8)], 1)
    >>> period, share, without = helix(turn, n, [5, 8, 13])
    >>> period, round(share, 6), without < 0.8
    (8, 1.0, True)
    """
    x, n = np.asarray(values, dtype=float), np.asarray(numbers, dtype=float)
    if x.ndim != 2 or n.shape != (len(x),) or len(x) < 8 or not len(periods):
        raise ShapeError(f"values [n, d] of 8 or more numbers and a period are needed, got {list(x.shape)}, {list(n.shape)}.")
    x = x - x.mean(0)
    line = [np.ones_like(n), n, (-1.0) ** n]

    def share(columns: list[np.ndarray]) -> float:
        q = np.linalg.qr(np.stack(columns, 1))[0]
        return float(np.square(q.T @ x).sum() / np.square(x).sum())

    each = [share([*line, np.cos(2 * np.pi * n / p), np.sin(2 * np.pi * n / p)]) for p in periods]
    return periods[int(np.argmax(each))], max(each), share(line)


def gap(values: Any, numbers: Any, labels: Any, *, degree: int = 5) -> np.ndarray:
    """What a two-valued property adds to each entry of a table beside a smooth trajectory: [n, d], to be taken off twice.

    Least squares of ``values[n, d]`` on ``1, k, .., k^degree`` and ``s, s k, s k^2``, k the standardised number and s = 1 where
    the label is true, else -1; the part of s. ``values - 2 gap`` has the property exchanged. A component that tells a property
    is not its direction: what also moves along the trajectory hides there, where the variance is large.

    Examples
    --------
    >>> n, odd = np.arange(20), np.arange(20) % 2 == 1
    >>> smooth, turned = np.stack([n, n**2], 1) / 50, np.where(odd, 1.0, -1.0)[:, None]
    >>> bool(np.allclose(gap(smooth + turned * [0.3, -0.1], n, odd), turned * [0.3, -0.1]))
    True
    """
    x, n, has = np.asarray(values, dtype=float), np.asarray(numbers, dtype=float), np.asarray(labels).astype(bool)
    if x.ndim != 2 or n.shape != (len(x),) or has.shape != n.shape or len(x) < degree + 5:
        raise ShapeError(f"values [n, d], numbers [n] and labels [n] with n >= {degree + 5} are needed, got {list(x.shape)}.")
    if min(has.sum(), (~has).sum()) < 2 or n.std() == 0:
        raise Degenerate("the numbers must vary, and both labels be there twice or more.")
    k, s = (n - n.mean()) / n.std(), np.where(has, 1.0, -1.0)
    design = np.stack([k**i for i in range(degree + 1)] + [s, s * k, s * k**2], 1)
    return design[:, -3:] @ np.linalg.lstsq(design, x, rcond=None)[0][-3:]


def _terms(terms: Mapping[str, Any], rows: int) -> np.ndarray:
    """Terms as columns [rows, m] of variance 1."""
    if len(terms) < 2:
        raise UsageError(f"two terms at least are needed, to see each beside the others; got {list(terms)}.")
    columns = [
        np.asarray(torch.as_tensor(v).double().cpu()) if torch.is_tensor(v) else np.asarray(v, float) for v in terms.values()
    ]
    wrong = [name for name, v in zip(terms, columns, strict=True) if v.shape != (rows,)]
    if wrong:
        raise ShapeError(f"term '{wrong[0]}' must have one number for each of the {rows} rows.")
    t = np.stack(columns, 1)
    if not np.isfinite(t).all():
        raise NonFinite(f"term '{list(terms)[int((~np.isfinite(t)).any(0).argmax())]}' holds NaN or infinity.")
    spread = t.std(0)
    if not (spread > 0).all():
        raise Degenerate(f"term '{list(terms)[int(spread.argmin())]}' is constant.")
    return (t - t.mean(0)) / spread


def _own(t: np.ndarray, names: list[str]) -> np.ndarray:
    """What of each term the others do not give [rows, m]."""
    own = np.zeros_like(t)
    for j in range(t.shape[1]):
        others = np.concatenate([np.delete(t, j, 1), np.ones((len(t), 1))], 1)
        own[:, j] = t[:, j] - others @ np.linalg.lstsq(others, t[:, j], rcond=None)[0]
        if np.square(own[:, j]).mean() < OWN:
            raise Degenerate(f"term '{names[j]}' is a sum of the others: leave one of them out.")
    return own

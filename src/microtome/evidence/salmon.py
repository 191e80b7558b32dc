"""The dead-salmon test: would the same pipeline say the same of a network that learned nothing?"""

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from microtome.errors import Degenerate, NonFinite, ShapeError, UsageError
from microtome.evidence._arrays import as_array, share
from microtome.evidence.bootstrap import bootstrap, cluster_bootstrap
from microtome.evidence.estimate import Estimate
from microtome.evidence.finding import Finding
from microtome.evidence.multiple import benjamini_hochberg
from microtome.evidence.null import TIE, Null, check_alternative, p_values
from microtome.evidence.provenance import Provenance

Model = TypeVar("Model")
Statistics = Mapping[str, Any]
#: Nulls that shuffle only the labels of the read-out. They exclude chance agreement, not an untrained network.
LABEL_NULLS = ("label_permutation", "label_shuffle", "labels permuted", "labels shuffled", "chance")


class WeakNull(UserWarning):
    """The only null leaves the network as it is, so an untrained network would pass the test too."""


def salmon_test(
    pipeline: Callable[[Model], Statistics], subject: Model, twins: Mapping[str, Iterable[Model]], *,
    alternative: str = "greater", groups: Any = None, alpha: float = 0.05, claim: str = "", seed: int = 0,
) -> Finding:
    """Run a pipeline on a network and on its randomised twins, and test whether its statistics survive.

    p = (1 + #{twin statistic >= observed}) / (1 + M) per statistic and kind of twin, Benjamini-Hochberg over all of them.

    Parameters
    ----------
    pipeline : callable
        Takes a network, returns {name: number or array [n] over inputs}; an array is averaged and bootstrapped.
    subject : object
        The network studied. This room never looks inside it.
    twins : mapping of str to iterable
        Kind of null ("reinit", "weight_shuffle", ...) to its twins; consumed one by one, 39 or more for a two-sided test.
    alternative : {"greater", "less", "two-sided"}, default "greater"
        Which deviation counts, for all statistics.
    groups : array_like [n] or None, default None
        Document of each input: intervals are then over documents.
    alpha : float, default 0.05
        Level of the finding.
    claim : str, default ""
        The claim; a sentence naming the statistics when empty.
    seed : int, default 0
        Seed of the bootstrap. The pipeline has its own.

    Returns
    -------
    Finding
        As `salmon_finding`.

    Raises
    ------
    Degenerate, NonFinite, ShapeError, UsageError
        When there is no twin, a statistic is NaN, or a twin gives other statistics than the subject.

    Warns
    -----
    WeakNull
        When every null only permutes labels.

    Notes
    -----
    Null: an untrained network is supported at rate alpha.
    Misleads when the pipeline was tuned on the subject but not on each twin, or twins keep BatchNorm statistics of the
    trained weights. The subject is one draw of training: claims about training need several seeds.

    Examples
    --------
    >>> twins = {"reinit": np.random.default_rng(0).normal(size=39)}
    >>> salmon_test(lambda x: {"effect": x}, 5.0, twins).verdict
    'supported'

    References
    ----------
    Méloux, Dirupo, Portet and Peyrard (2025). The Dead Salmons of AI Interpretability. https://arxiv.org/abs/2512.18792
    """
    if not isinstance(twins, Mapping) or not twins:
        raise UsageError('twins must map a kind of null to networks, e.g. {"reinit": [...]}, and hold at least one kind.')
    observed = _checked(pipeline(subject), "the subject")
    nulls = {}
    for kind, models in twins.items():
        runs = [_means(_checked(pipeline(model), f"{kind} twin {i}")) for i, model in enumerate(models)]
        other = [i for i, run in enumerate(runs) if set(run) != set(observed)]
        if other:
            found = sorted(runs[other[0]])
            raise ShapeError(f"{kind} twin {other[0]} gave statistics {found}, the subject gave {sorted(observed)}.")
        nulls[kind] = {name: np.array([run[name] for run in runs]) for name in observed}
    return salmon_finding(observed, nulls, alternative=alternative, groups=groups, alpha=alpha, claim=claim, seed=seed)


def salmon_finding(
    observed: Statistics, nulls: Mapping[str, Mapping[str, Any]], *,
    alternative: str = "greater", groups: Any = None, alpha: float = 0.05, claim: str = "", seed: int = 0,
) -> Finding:
    """Make the finding of a dead-salmon test from statistics that are already measured.

    One Null per kind. With several statistics it is of the largest standardised statistic, so that "supported" means: at
    least one statistic stands out, corrected over all; the table says which (q <= alpha).

    Parameters
    ----------
    observed : mapping of str to (float or array_like [n])
        Statistics of the subject; arrays are per input.
    nulls : mapping of str to mapping of str to array_like [M]
        Kind of null to {statistic: draws}.
    alternative : {"greater", "less", "two-sided"}, default "greater"
        Which deviation counts.
    groups : array_like [n] or None, default None
        Document of each input, for the intervals.
    alpha : float, default 0.05
        Level of the finding.
    claim : str, default ""
        The claim; a sentence naming the statistics when empty.
    seed : int, default 0
        Seed of the bootstrap.

    Returns
    -------
    Finding
        Table: statistic, null, observed, null_mean, percentile, p, q, survives. Controls: each statistic with its interval.

    Raises
    ------
    Degenerate, NonFinite, ShapeError, UsageError
        When there is no draw, a statistic is NaN or missing, or an argument is outside its range.

    Warns
    -----
    WeakNull
        When every null only permutes labels.

    Notes
    -----
    Null: supported at rate alpha, exact when subject and twins are exchangeable.
    Misleads when only labels were permuted: an untrained network passes that test as well.

    Examples
    --------
    >>> draws = {"reinit": {"probe": [0.5, 0.6, 0.7] * 13}}
    >>> float(salmon_finding({"probe": 0.9}, draws).table.p[0])
    0.025
    """
    import pandas as pd

    check_alternative(alternative)
    alpha = share(alpha, "alpha")
    observed = _checked(observed, "the subject")
    if not nulls:
        raise UsageError("A dead-salmon test needs at least one kind of null.")
    values = _means(observed)
    estimates = {name: _interval(value, groups, seed) for name, value in observed.items()}
    rows, tests = [], []
    for kind, draws in nulls.items():
        table = _draws(kind, draws, list(values))
        p = p_values(list(values.values()), table, alternative=alternative)
        each = [Null(kind, column, value, alternative) for column, value in zip(table.T, values.values())]
        rows += [
            {"statistic": name, "null": kind, "observed": null.observed, "null_mean": float(null.statistics.mean()),
             "percentile": null.percentile, "p": p_}
            for name, null, p_ in zip(values, each, p)
        ]
        real = np.array(list(values.values()))
        tests.append(each[0] if len(each) == 1 else largest_statistic(kind, real, table, alternative))
    frame = pd.DataFrame(rows)
    frame["q"] = benjamini_hochberg(frame["p"])
    frame["survives"] = frame["q"] <= alpha
    return Finding(
        claim or f"{', '.join(values)}: the network differs from its null.",
        estimate=next(iter(estimates.values())) if len(estimates) == 1 else None,
        nulls=tuple(tests), controls=estimates if len(estimates) > 1 else {}, table=frame,
        provenance=Provenance(seed=seed), alpha=alpha, notes=_weak(list(nulls)),
    )


def _weak(kinds: list[str]) -> tuple[str, ...]:
    if not all(kind in LABEL_NULLS for kind in kinds):
        return ()
    text = (
        f"Only labels were permuted ({', '.join(kinds)}): an untrained network passes this test too. "
        "Add twins with re-drawn or shuffled weights."
    )
    warnings.warn(text, WeakNull, stacklevel=3)
    return (text,)


def largest_statistic(kind: str, observed: np.ndarray, draws: np.ndarray, alternative: str) -> Null:
    """The null of the largest standardised statistic. Observed and draws enter the scale alike, so they stay exchangeable."""
    pooled = np.vstack([observed, draws])
    centred = pooled - pooled.mean(0)
    spread = centred.std(0)
    flat = spread <= TIE * np.abs(pooled).max(0)
    scores = np.where(flat, 0.0, centred / np.where(flat, 1.0, spread))
    scores = np.abs(scores) if alternative == "two-sided" else scores if alternative == "greater" else -scores
    top = scores.max(1)
    return Null(f"{kind} (largest of {len(observed)} standardised statistics)", top[1:], float(top[0]), "greater")


def _checked(statistics: Any, who: str) -> dict[str, np.ndarray]:
    if not isinstance(statistics, Mapping) or not statistics or not all(isinstance(name, str) for name in statistics):
        raise UsageError(f"The pipeline must return a non-empty dict of statistics; {who} gave {type(statistics).__name__}.")
    checked = {name: as_array(value, f"statistic '{name}' of {who}").astype(np.float64) for name, value in statistics.items()}
    for name, value in checked.items():
        if value.ndim > 1 or value.size == 0:
            raise ShapeError(f"Statistic '{name}' of {who} must be a number or an array [n], got shape {list(value.shape)}.")
        if not np.isfinite(value).all():
            raise NonFinite(f"Statistic '{name}' of {who} is NaN or infinite. Give failed runs the worst score.")
    return checked


def _means(statistics: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: float(value.mean()) for name, value in statistics.items()}


def _interval(value: np.ndarray, groups: Any, seed: int) -> Estimate:
    if value.ndim == 0 or len(value) < 2:
        return Estimate(float(value.mean()), n=value.size, method="no interval: one value, not one per input")
    return bootstrap(value, seed=seed) if groups is None else cluster_bootstrap(value, groups, seed=seed)


def _draws(kind: str, draws: Any, names: list[str]) -> np.ndarray:
    """The draws of one kind as a matrix [M, statistics] in the order of `names`."""
    draws = _checked(draws, f"null '{kind}'") if not _empty(draws) else {}
    if not draws:
        raise Degenerate(f"Null '{kind}' has no twin. Pass at least one; 39 allow a two-sided p of 0.05.")
    sizes = {np.atleast_1d(column).size for column in draws.values()}
    if set(draws) != set(names) or len(sizes) != 1:
        raise ShapeError(
            f"Null '{kind}' must hold equally many draws of each of {names}, got {sorted(draws)} with {sorted(sizes)} draws."
        )
    return np.stack([np.atleast_1d(draws[name]) for name in names], axis=1)


def _empty(draws: Any) -> bool:
    return isinstance(draws, Mapping) and any(np.size(column) == 0 for column in draws.values())

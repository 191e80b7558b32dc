"""The interval of a statistic over resampled indices; scipy does the resampling and the interval."""

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from microtome.errors import Degenerate, NonFinite, ShapeError, UsageError
from microtome.evidence._arrays import CELLS, as_array, count, finite, share
from microtome.evidence.estimate import Estimate
from microtome.rng import rng

METHODS = {"percentile": "percentile", "bca": "BCa", "basic": "basic"}


def estimate(
    of: Callable[..., np.ndarray], index: np.ndarray, level: float, draws: int, method: str, unit: str, seed: int,
    what: str, constant: bool,
) -> Estimate:
    """The interval of `of` over resampled indices. All kinds of bootstrap end here."""
    level, draws = share(level, "level"), count(draws, "draws", least=2)
    if method not in METHODS:
        raise UsageError(f"method must be one of {list(METHODS)}, got {method!r}.")
    value = float(of(index[None])[0])
    if not np.isfinite(value):
        raise NonFinite(f"The statistic of the values is {value}; it must be a finite number.")
    how = f"{method} {what}, {draws} draws"
    if constant:
        return Estimate(value, value, value, level, len(index), unit, how + "; the values are constant")
    from scipy import stats

    # scipy renamed `random_state` to `rng` in 1.15.
    name = "rng" if "rng" in inspect.signature(stats.bootstrap).parameters else "random_state"
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # answered below by a typed error
        interval = stats.bootstrap(
            (index,), of, n_resamples=draws, batch=max(1, CELLS // len(index)), vectorized=True, confidence_level=level,
            method=METHODS[method], **{name: rng(seed, "bootstrap")},
        ).confidence_interval
    low, high = float(interval.low), float(interval.high)
    if not np.isfinite([low, high]).all():
        raise Degenerate(f"The {method} interval is not defined here ({low}, {high}). Use method='percentile' or more rows.")
    return Estimate(value, low, high, level, len(index), unit, how)


def of_rows(statistic: Callable[..., Any], values: np.ndarray) -> Callable[..., np.ndarray]:
    """A statistic of rows as a function of index arrays; called once when it takes `axis`."""
    try:
        takes_axis = "axis" in inspect.signature(statistic).parameters
    except (TypeError, ValueError):  # some built-in functions have no signature
        takes_axis = False
    if takes_axis and values.ndim == 1:
        return lambda index, axis=-1: np.asarray(statistic(values[index], axis=axis), dtype=np.float64)
    return one_by_one(lambda index: statistic(values[index]))


def one_by_one(once: Callable[[np.ndarray], Any]) -> Callable[..., np.ndarray]:
    """A statistic of one index array, applied to each row of a batch (the last axis holds the indices)."""

    def each(index: np.ndarray, axis: int = -1) -> np.ndarray:
        index = np.moveaxis(index, axis, -1)
        flat = [float(once(row)) for row in index.reshape(-1, index.shape[-1])]
        if not np.isfinite(flat).all():
            raise NonFinite("The statistic is NaN or infinite on a resample, e.g. one class only. Make it defined there.")
        return np.array(flat).reshape(index.shape[:-1])

    return each


def function_of(statistic: Any) -> Callable[..., Any]:
    """The statistic itself, if it can be called."""
    if not callable(statistic):
        raise UsageError(f"statistic must be 'mean' or a function of the rows, got {statistic!r}.")
    return statistic


def sample(values: Any, name: str, least: int = 2) -> np.ndarray:
    """Rows as finite float64, at least `least` of them."""
    array = as_array(values, name)
    if array.ndim == 0:
        raise ShapeError(f"{name} must have one row per unit, got a single number.")
    if len(array) < least:
        raise Degenerate(f"{name} needs at least {least} rows for an interval, found {len(array)}. Collect more.")
    return finite(array.astype(np.float64), name)


def one_column(values: np.ndarray, name: str) -> None:
    """Refuses more than one column, where a mean is asked for."""
    if values.ndim != 1:
        raise ShapeError(f"statistic='mean' needs {name} of shape [n], got {list(values.shape)}. Pass a callable.")

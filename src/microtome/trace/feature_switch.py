"""Feature switches: set a latent to its on or off value, and ask for the behaviour of an input that was edited instead."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from microtome.errors import ShapeError, UsageError
from microtome.evidence import Finding, Null, Provenance
from microtome.method import Paper, method
from microtome.rng import rng
from microtome.subject.edit import Edit
from microtome.subject.run import check_edits
from microtome.trace.drawn import as_accuracy, estimated, resampled_means
from microtome.trace.measured import bound_pairs, measured

if TYPE_CHECKING:
    from microtome.subject.basis import Basis


@method(
    question="trace",
    paper=Paper("Spies, Edwards, Ivanitskiy, Skapars, Räuker, Inoue, Russo, Shanahan", 2024,
                "Transformers Use Causal World Models in Maze-Solving Tasks", "https://arxiv.org/abs/2412.11867"),
    needs=("subject", "task", "basis"),
    gives="Finding",
    stochastic=True,
    cost="one forward per latent that occurs, and as many for each random draw",
    claim="Switching the latent of one connection of a maze on makes the model act as if the connection were in its input.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="That the latent is all the model knows of the fact: copies elsewhere can outlive a switch.",
    tiny={"draws": 19},
)  # fmt: skip
def feature_switch(
    subject: Any,
    task: Any,
    basis: "Basis",
    *,
    latents: Sequence[int | Sequence[int]],
    values: float | Sequence[float | Sequence[float]],
    positions: Any = None,
    cleared: Sequence[int] = (),
    draws: int = 19,
    alpha: float = 0.05,
    seed: int = 0,
) -> Finding:
    """Set one latent (or a few) of each example and count how often the answer becomes that of the edited input.

    On the corrupt inputs, ``z[latent_i] <- value_i`` at the chosen positions, what the basis does not explain kept; success =
    the answer is that of the clean input. A large value activates a feature, 0 suppresses it. Where a fact is coded by
    several latents together, all of them are set at once; where it takes the place of another, that one is cleared.

    Parameters
    ----------
    subject : Subject
    task : Task
        Corrupt: inputs to act on. Clean: the same inputs edited, e.g. with one more connection; `answers` is their answer.
    basis : Basis
        E.g. a sparse autoencoder at a site.
    latents : sequence of int [n], or of sequences of int
        The latent of each example, or its latents.
    values : float, or sequence of float [n] or of sequences
        What they are set to: the typical value when on, or 0.
    positions : position, optional
        Where: None = everywhere, an int, or a tensor [n] or [n, places] (tokens of each example).
    cleared : sequence of int, default none
        Latents set to 0 with every switch, random ones too, unless they are switched. A latent is otherwise added to what is
        active there; ``range(basis.dim)`` exchanges the whole code for it.
    draws : int, default 19
        Random latents: each draw gives all examples of one latent another one, as many where there are several.
    alpha : float, default 0.05
    seed : int, default 0

    Returns
    -------
    Finding
        Estimate: success rate with its interval over groups. Null: success rates of random latents set to the same values.
        Controls: rate without a switch, and of the edited input itself (the upper bound). Table, one row per latent
        (several: "3+17"): n, success, effect = success less that of random latents, low, high.

    Raises
    ------
    ShapeError
        When latents, values or positions are not one per example.
    UsageError, SiteError
        When a latent or a position does not exist.
    SubjectMismatch
        When the basis belongs to another subject or site.

    Notes
    -----
    Null: a latent without part in the behaviour leaves the answer as it was.
    Misleads when the value is far beyond what the latent ever takes: any direction breaks the network then.

    Examples
    --------
    >>> from microtome.subject.basis import Identity
    >>> from microtome.testing.planted_switch import planted_switch
    >>> case = planted_switch(0)
    >>> found = feature_switch(case.subject, case.task, case.basis, latents=case.latents, values=case.value,
    ...                        positions=case.position)
    >>> found.verdict, round(found.estimate.value, 1)
    ('supported', 1.0)

    References
    ----------
    Spies, Edwards, Ivanitskiy, Skapars, Räuker, Inoue, Russo, Shanahan (2024). Transformers Use Causal World Models in
    Maze-Solving Tasks. https://arxiv.org/abs/2412.11867
    """
    if draws < 1:
        raise UsageError(f"draws must be at least 1, got {draws}.")
    bound = as_accuracy(bound_pairs(subject, task))
    n = len(bound)
    switches, where = _of_examples(latents, values, positions, n, basis.dim)
    if outside := [unit for unit in cleared if not 0 <= unit < basis.dim]:
        raise UsageError(f"cleared must hold numbers of latents, 0..{basis.dim - 1}, got {outside[:5]}.")
    check_edits(subject, [Edit(basis.site, "set", 0.0, None, None, [0], basis)])
    kinds = sorted(set(switches))
    codes, stream = np.array([kinds.index(s) for s in switches]), rng(seed, "feature switch")
    taken = {unit for units, _ in kinds for unit in units}
    hits = np.empty((1 + draws, n))
    for i, (units, levels) in enumerate(kinds):
        rows = np.flatnonzero(codes == i)
        part = as_accuracy(subject.bind(task[rows]))
        at = where[torch.from_numpy(rows)] if isinstance(where, torch.Tensor) else where
        drawn = (_others(stream, basis.dim, taken, len(units)) for _ in range(draws))
        sets = [[_switch(basis, chosen, levels, at, cleared)] for chosen in (units, *drawn)]
        hits[:, rows] = subject.sweep(part.corrupt, sets, part.metric).values.double().numpy()
    before, edited = (measured(subject, x, bound.metric)[1] for x in (bound.corrupt, bound.inputs))
    rate, groups = float(hits[0].mean()), np.asarray(bound.groups)
    spread = resampled_means(hits[:1], groups, 999, seed, "feature switch", "interval")[:, 0]
    return Finding(
        f"setting the latents makes the answers of '{task.name}' those of the edited inputs",
        estimate=estimated(rate, spread, len(set(groups.tolist())), "share of the examples", "bootstrap over prompt groups"),
        nulls=(Null("random latents set to the same values", hits[1:].mean(1), rate, "greater"),),
        controls={"without a switch": float(before.mean()), "edited input": float(edited.mean()),
                  "random latents": float(hits[1:].mean())},
        table=_table([s[0] for s in switches], hits, groups, seed), alpha=alpha,
        provenance=Provenance(subject=subject.fingerprint(), data=task.fingerprint(), seed=seed, forwards=3.0 + draws),
    )  # fmt: skip


#: The latents of an example and what they are set to.
Switch = tuple[tuple[int, ...], tuple[float, ...]]


def _of_examples(latents: Any, values: Any, positions: Any, n: int, dim: int) -> tuple[list[Switch], Any]:
    """One switch per example."""
    if len(latents) != n:
        raise ShapeError(f"latents must name one latent, or some, for each of {n} examples, got {len(latents)}.")
    each = [np.atleast_1d(np.asarray(one)) for one in latents]
    for units in each:
        whole = units.ndim == 1 and units.dtype.kind in "iu" and len(set(units.tolist())) == len(units) > 0
        if not whole or units.min() < 0 or units.max() >= dim:
            raise UsageError(f"latents must be different numbers of latents, 0..{dim - 1}, got {units.tolist()[:5]}.")
    given = [values] * n if isinstance(values, (int, float, np.number)) else list(values)
    if len(given) != n:
        raise ShapeError(f"values must be one number, or one (or some) for each of {n} examples; got {len(given)}.")
    levels = [np.asarray(one, dtype=float) for one in given]
    if any(v.shape not in ((), u.shape) or not np.isfinite(v).all() for u, v in zip(each, levels, strict=True)):
        raise ShapeError("values must be finite: for each example one number, or as many as it has latents.")
    if isinstance(positions, torch.Tensor) and len(positions) != n:
        raise ShapeError(f"positions must be given for each of {n} examples, got {len(positions)}.")
    pairs = zip(each, levels, strict=True)
    return [(tuple(u.tolist()), tuple(np.broadcast_to(v, u.shape).tolist())) for u, v in pairs], positions


def _switch(basis: "Basis", units: Sequence[int], levels: Sequence[float], where: Any, cleared: Sequence[int]) -> Edit:
    """Latents set to their values and cleared ones to 0, others as they are."""
    target = torch.zeros(basis.dim)
    target[list(units)] = torch.tensor(levels)
    return Edit(basis.site, "coordinates", target, where, None, sorted({*units, *cleared}), basis)


def _others(stream: np.random.Generator, dim: int, taken: set[int], count: int) -> list[int]:
    """So many latents that are none of those switched, where there are such."""
    free = np.setdiff1d(np.arange(dim), list(taken))
    return stream.choice(free if len(free) >= count else np.arange(dim), count, replace=False).tolist()


def _table(units: list[tuple[int, ...]], hits: np.ndarray, groups: np.ndarray, seed: int) -> Any:
    import pandas as pd

    rows, alone = [], max(map(len, units)) == 1
    for kind in sorted(set(units)):
        mine = np.array([u == kind for u in units])
        name = kind[0] if alone else "+".join(map(str, kind))
        success, random = float(hits[0, mine].mean()), float(hits[1:, mine].mean())
        spread = resampled_means(hits[:1, mine], groups[mine], 499, seed, "feature switch", str(name))[:, 0]
        low, high = np.percentile(spread, [2.5, 97.5])
        rows.append({"latent": name, "n": int(mine.sum()), "success": success, "random": random,
                     "effect": success - random, "low": min(float(low), success),
                     "high": max(float(high), success)})  # fmt: skip
    return pd.DataFrame(rows)

"""Does a representation look like what the network is asked, or like what it is shown (Alleman et al. 2024)?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.decompose.alignment import cka
from microtome.decompose.given import matrix_of, require_draws
from microtome.decompose.representation import ccgp, parallelism, participation_ratio, shattering, variance_explained
from microtome.errors import Degenerate, ShapeError, UsageError, nearest
from microtome.evidence import Estimate, Finding, Null, Provenance
from microtome.method import Paper, method
from microtome.rng import rng

#: Rows that are compared, at most: alignment needs a matrix of rows by rows.
ROWS = 1024
#: Conditions whose splits are all tried, at most.
CONDITIONS = 12


@method(
    question="decompose",
    paper=Paper("Alleman, Lindsey, Fusi", 2024,
                "Task structure and nonlinearity jointly determine learned representational geometry",
                "https://arxiv.org/abs/2401.13558"),
    needs=("recording", "labels", "values"),
    gives="Finding",
    stochastic=True,
    cost="O(draws * rows^2), rows at most 1024",
    claim="Tanh networks take on the geometry of their targets; ReLU networks keep more of their inputs'.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="How the geometry came about: compare activations and scales of initialisation.",
    tiny={"draws": 19},
)  # fmt: skip
def task_nonlinearity_geometry(
    recording: Any, inputs: Any, *, targets: Sequence[str], draws: int = 99, seed: int = 0
) -> Finding:
    """Compare the geometry of a site with that of the targets and of the inputs, and report how abstract each variable is.

    ``T = CKA(hidden, targets) - CKA(hidden, inputs)``, debiased: above 0 where the site looks more like what is asked.

    Parameters
    ----------
    recording : Recording
        One site. Its properties are the variables; together they name the condition of a row.
    inputs : Tensor[rows, d]
        What the network was shown, one row for each of the recording.
    targets : sequence of str
        The properties that the network must output. In the paper, two of three.
    draws : int
        Permutations of the targets. Default 99.
    seed : int
        Of the permutations, and of the rows when there are more than 1,024. Default 0.

    Returns
    -------
    Finding
        The estimate is T. Table, a row per variable: variable, target, ccgp (accuracy in conditions that were not fitted on),
        parallelism, variance. Controls: both alignments, dimensions (participation ratio), and, up to 12 conditions, the share
        of their splits that are separable.

    Raises
    ------
    UsageError
        When a target is no property of the recording, there is none, or draws < 1.
    ShapeError
        When inputs do not have a row for each of the recording.
    NonFinite
        When activations or inputs are NaN or infinite.
    Degenerate
        With fewer than two variables, or rows, inputs or variables that do not vary.

    Notes
    -----
    Null: targets permuted over rows; the alignment of the site with them. It says whether the site holds the targets' geometry
    at all; T compares.
    Misleads when conditions are few and noise is small: alignment is then that of a handful of points.

    Examples
    --------
    >>> from microtome.stimuli.algorithmic import conditions
    >>> from microtome.subject.recording import Recording
    >>> shown = conditions(96, bits=3)
    >>> bits = {name: shown.table[name].to_numpy() == 1 for name in ("bit0", "bit1", "bit2")}
    >>> x = np.stack([bits["bit0"], bits["bit1"]], 1) @ np.eye(2, 8) + 0.01 * np.random.default_rng(0).normal(size=(96, 8))
    >>> hidden = Recording.of(torch.tensor(x), site="hidden", labels=bits)
    >>> found = task_nonlinearity_geometry(hidden, shown.inputs, targets=["bit0", "bit1"], draws=19)
    >>> found.verdict, found.estimate.value > 0.3, found.table["ccgp"].round(1).tolist()[:2]
    ('supported', True, [1.0, 1.0])

    References
    ----------
    Alleman, Lindsey, Fusi (2024). Task structure and nonlinearity jointly determine learned representational geometry.
    https://arxiv.org/abs/2401.13558
    """
    import pandas as pd

    require_draws(draws)
    h, given = recording.matrix().double().cpu(), matrix_of(inputs, "inputs")
    if len(given) != len(h):
        raise ShapeError(f"inputs have {len(given)} rows, the recording has {len(h)}.")
    stream = rng(seed, "decompose", "task_nonlinearity_geometry")
    kept = np.sort(stream.permutation(len(h))[:ROWS])
    names, bits = _variables(recording, kept)
    wanted = _targets(targets, names)
    h, given = h[torch.from_numpy(kept)], given[torch.from_numpy(kept)]
    y = bits[:, [names.index(t) for t in wanted]].double()
    like_targets, like_inputs = cka(h, y), cka(h, given)
    chance = [cka(h, y[torch.from_numpy(stream.permutation(len(y)))]) for _ in range(draws)]
    controls = {"like_targets": like_targets, "like_inputs": like_inputs, "dimensions": participation_ratio(h)}
    if len(np.unique(bits.numpy(), axis=0)) <= CONDITIONS:
        controls["separable"] = shattering(h, bits)
    return Finding(
        f"The site is like its targets ({like_targets:.2f}) rather than like its inputs ({like_inputs:.2f}).",
        estimate=Estimate(like_targets - like_inputs, n=len(h), unit="CKA",
                          method="debiased; without an interval, since resampled rows would be alike"),
        nulls=(Null("targets permuted over rows", chance, like_targets),), controls=controls,
        table=pd.DataFrame([
            {"variable": name, "target": name in wanted, "ccgp": ccgp(h, bits, k), "parallelism": parallelism(h, bits, k),
             "variance": variance_explained(h, bits[:, k])} for k, name in enumerate(names)
        ]),
        provenance=Provenance(subject=str(recording.provenance.get("subject", "") or ""), data=str(recording.site), seed=seed),
    )  # fmt: skip


def _variables(recording: Any, rows: np.ndarray) -> tuple[list[str], Tensor]:
    """The properties of some rows, as bits."""
    names = list(recording.properties)
    if len(names) < 2:
        raise Degenerate(f"at least two variables are needed to ask whether one is abstract; the recording has {names}.")
    bits = torch.stack([torch.from_numpy(np.asarray(recording.labels(n), dtype=bool)[rows]) for n in names], 1).long()
    constant = [n for n, rate in zip(names, bits.double().mean(0).tolist(), strict=True) if not 0 < rate < 1]
    if constant:
        raise Degenerate(f"'{constant[0]}' does not vary over the rows.")
    return names, bits


def _targets(targets: Sequence[str], names: list[str]) -> list[str]:
    wanted = [targets] if isinstance(targets, str) else [str(t) for t in targets]
    missing = [t for t in wanted if t not in names]
    if missing or not wanted:
        hint = nearest(missing[0], names) if missing else ""
        raise UsageError(f"targets are properties of the recording, got {wanted}.{hint} It has {names}.")
    return wanted

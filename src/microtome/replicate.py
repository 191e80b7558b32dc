"""Replications: a paper's claim as data, measured on several seeds against its null.

A replication is a short file ``replications/<room>/<key>.py`` of a source checkout:

    CATALOG = ("decompose", 42)
    CLAIMS = [Claim("five features share two dimensions as a pentagon", measure="worst_angle_error", threshold=5.0,
                    direction="<=", null="random_worst_angle_error")]
    SEEDS = (0, 1, 2)
    BUDGET_SECONDS = 20
    METHODS = ("microtome.decompose.geometry",)

    def run(seed: int) -> dict[str, float]: ...

`replicate` runs it and returns a `Row` of the ledger. A claim holds when its measure passes the threshold on every seed
and its null never does: a threshold that the null passes shows nothing.
"""

import math
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from microtome.errors import NonFinite, UsageError
from microtome.replication import Claim, Replication, keys, load

__all__ = ["Claim", "Row", "keys", "load", "replicate", "versions"]


@dataclass(frozen=True)
class Row:
    """What one replication showed; a line of the ledger."""

    key: str
    content: Mapping[str, Any]

    @property
    def holds(self) -> bool:
        """Whether every claim holds."""
        return bool(self.content["holds"])

    def to_json(self) -> dict[str, Any]:
        """The row as it stands in ``ledger.json``."""
        return dict(self.content)

    def __str__(self) -> str:
        lines = [f"{self.key}: {'holds' if self.holds else 'does not hold'} ({self.content['total_seconds']:.1f} s)"]
        for claim in self.content["claims"]:
            null = claim["null"].get("range")
            beside = f"null {null[0]:.4g} to {null[1]:.4g}" if null else f"no null: {claim['null']['reason']}"
            low, high = claim["range"]
            lines.append(
                f"  {'yes' if claim['holds'] else 'NO '}  {claim['statement']}: {claim['measure']} {claim['median']:.4g} "
                f"({low:.4g} to {high:.4g}), asked {claim['direction']} {claim['threshold']:.4g}, {beside}"
            )
        return "\n".join(lines)


def replicate(key: str, seeds: Sequence[int] | None = None, *, folder: str | Path | None = None) -> Row:
    """Run a replication on its seeds.

    Parameters
    ----------
    key : str
        Key in the catalogue; the file ``<room>/<key>.py``.
    seeds : sequence of int, optional
        Default: those of the file. Only a run on these may enter the ledger.
    folder : path, optional
        Where the replications are; see `source_folder`.

    Returns
    -------
    Row

    Raises
    ------
    UsageError
        When `run` leaves out a measure that a claim names.
    NonFinite
        When a measure is NaN or infinite.
    """
    found = load(key, folder)
    chosen = tuple(found.seeds if seeds is None else seeds)
    if not chosen:
        raise UsageError("a replication needs at least one seed.")
    measures, seconds = [], []
    for seed in chosen:
        started = time.perf_counter()
        measures.append(_measured(found, seed))
        seconds.append(round(time.perf_counter() - started, 2))
    figures = {name: [m[name] for m in measures] for name in measures[0]}
    claims = [_claim_row(claim, figures) for claim in found.claims]
    named = {row["measure"] for row in claims} | {row["null"].get("measure") for row in claims}
    return Row(
        key,
        {
            "room": found.room, "catalog": list(found.catalog), "seeds": list(chosen), "seconds": seconds,
            "total_seconds": round(sum(seconds), 2), "budget_seconds": found.budget_seconds, "claims": claims,
            "figures": {name: values for name, values in figures.items() if name not in named},
            "holds": all(row["holds"] for row in claims), "hashes": found.hashes(), "versions": versions(),
        },
    )  # fmt: skip


def _measured(found: Replication, seed: int) -> dict[str, float]:
    values = {name: float(value) for name, value in found.module.run(seed).items()}
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise NonFinite(f"replication {found.key!r}, seed {seed}: {', '.join(bad)} is NaN or infinite.")
    wanted = {c.measure for c in found.claims} | {c.null for c in found.claims if c.null}
    if wanted - set(values):
        raise UsageError(
            f"replication {found.key!r}: run gives {sorted(values)} but the claims name {sorted(wanted - set(values))}."
        )
    return values


def _claim_row(claim: Claim, figures: Mapping[str, list[float]]) -> dict[str, Any]:
    values = figures[claim.measure]
    if claim.null is None:
        null, beyond = {"reason": claim.no_null}, True
    else:
        null, beyond = {"measure": claim.null, **_spread(figures[claim.null])}, claim.beyond_null(figures[claim.null])
    return {
        "statement": claim.statement, "measure": claim.measure, "direction": claim.direction,
        "threshold": claim.threshold, "over": claim.over, **_spread(values), "null": null, "beyond_null": beyond,
        "holds": claim.holds(values) and beyond,
    }  # fmt: skip


def _spread(values: Sequence[float]) -> dict[str, Any]:
    values = [float(f"{v:.6g}") for v in values]
    return {"values": values, "median": statistics.median(values), "range": [min(values), max(values)]}


def versions() -> dict[str, str]:
    """Versions of what the figures can depend on."""
    import numpy
    import torch

    from microtome import __version__

    python = platform.python_version()
    return {"microtome": __version__, "numpy": numpy.__version__, "python": python, "torch": torch.__version__}

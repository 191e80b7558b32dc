"""What a replication is: claims as data, a `run`, and the sources that it speaks of.

See `microtome.replicate` for the form of the file.
"""

import importlib.util
import math
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from microtome.errors import UsageError, nearest

DIRECTIONS = (">=", "<=")
OVERS = ("every", "median")
#: What a replication file must define beside `run`.
FIELDS = ("CATALOG", "CLAIMS", "SEEDS", "BUDGET_SECONDS", "METHODS")


@dataclass(frozen=True)
class Claim:
    """One statement of a paper, and the number that would refute it.

    Parameters
    ----------
    statement : str
        The claim in one sentence.
    measure : str
        Key of `run`'s result.
    threshold : float
        What the measure must reach, fixed before the runs that are reported.
    direction : {">=", "<="}, default ">="
        On which side of the threshold the claim holds.
    null : str, optional
        Key of `run`'s result that holds the same measure where there is nothing to find. It must fail the claim.
    no_null : str, default ""
        Why there is no null; required when `null` is None.
    over : {"every", "median"}, default "every"
        Whether each seed must pass, or the median over seeds.
    """

    statement: str
    measure: str
    threshold: float
    direction: str = ">="
    null: str | None = None
    no_null: str = ""
    over: str = "every"

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS or self.over not in OVERS:
            raise UsageError(f"claim {self.measure!r}: direction is one of {DIRECTIONS}, over one of {OVERS}.")
        if not math.isfinite(self.threshold):
            raise UsageError(f"claim {self.measure!r}: the threshold must be finite, got {self.threshold}.")
        if self.null is None and not self.no_null.strip():
            raise UsageError(f"claim {self.measure!r} has no null; name its measure, or say why in no_null.")

    def passes(self, value: float) -> bool:
        """Whether one value is on the claimed side of the threshold."""
        return value >= self.threshold if self.direction == ">=" else value <= self.threshold

    def holds(self, values: Sequence[float]) -> bool:
        """Whether the values of all seeds, or their median, pass."""
        return self.passes(statistics.median(values)) if self.over == "median" else all(map(self.passes, values))

    def beyond_null(self, null_values: Sequence[float]) -> bool:
        """Whether the null fails the claim: its median where the median counts, else on each seed."""
        if self.over == "median":
            return not self.passes(statistics.median(null_values))
        return not any(map(self.passes, null_values))


@dataclass(frozen=True)
class Replication:
    """A replication file, loaded and checked."""

    key: str
    room: str
    path: Path
    catalog: tuple[str, int]
    claims: tuple[Claim, ...]
    seeds: tuple[int, ...]
    budget_seconds: float
    methods: tuple[str, ...]
    module: ModuleType

    def hashes(self) -> dict[str, Any]:
        """Hashes of the file and of the source of each module that it names."""
        from microtome.io import hash_file

        return {"replication": hash_file(self.path), "methods": {name: source_hash(name) for name in self.methods}}


def source_folder(folder: str | Path | None = None) -> Path:
    """The folder of replications: the argument, the variable MICROTOME_REPLICATIONS, or the one beside ``src``.

    Raises
    ------
    UsageError
        When there is none; replications are not part of the installed package.
    """
    beside = Path(__file__).resolve().parents[2] / "replications"
    chosen = Path(folder or os.environ.get("MICROTOME_REPLICATIONS") or beside)
    if not chosen.is_dir():
        raise UsageError(
            f"no folder of replications at '{chosen}'. They run from a source checkout; set MICROTOME_REPLICATIONS or "
            "pass the folder."
        )
    return chosen


def keys(folder: str | Path | None = None) -> dict[str, Path]:
    """Every replication file by key."""
    files = sorted(source_folder(folder).glob("*/*.py"))
    found = {path.stem: path for path in files if not path.stem.startswith("_")}
    if len(found) != len([p for p in files if not p.stem.startswith("_")]):
        raise UsageError("two replications share a key; the name of the file is the key of the catalogue.")
    return found


def load(key: str, folder: str | Path | None = None) -> Replication:
    """The replication called `key`.

    Raises
    ------
    UsageError
        When there is no such file, or it lacks a field.
    """
    known = keys(folder)
    if key not in known:
        raise UsageError(f"no replication {key!r} among {len(known)}.{nearest(key, known)}")
    path = known[key]
    spec = importlib.util.spec_from_file_location(f"microtome_replication_{key}", path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    missing = [name for name in (*FIELDS, "run") if not hasattr(module, name)]
    if missing:
        raise UsageError(f"'{path.name}' lacks {', '.join(missing)}.")
    claims, seeds = tuple(module.CLAIMS), tuple(module.SEEDS)
    if not claims or not all(isinstance(c, Claim) for c in claims):
        raise UsageError(f"'{path.name}': CLAIMS must be a list of Claim, and not empty.")
    if len(set(seeds)) < 3:
        raise UsageError(f"'{path.name}': SEEDS must hold at least 3 seeds, got {seeds}.")
    return Replication(
        key, path.parent.name, path, (str(module.CATALOG[0]), int(module.CATALOG[1])), claims, seeds,
        float(module.BUDGET_SECONDS), tuple(module.METHODS), module,
    )  # fmt: skip


def source_hash(module: str) -> str:
    """Hash of the source of a module, or of every file of a package; found without importing it.

    Raises
    ------
    UsageError
        When there is no such module.
    """
    from microtome.io import hash_bytes, hash_file

    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise UsageError(f"METHODS names '{module}', which is no module with a source file.")
    origin = Path(spec.origin)
    if spec.submodule_search_locations is None:
        return hash_file(origin)
    parts = [f"{p.relative_to(origin.parent)} {hash_file(p)}" for p in sorted(origin.parent.rglob("*.py"))]
    return hash_bytes("\n".join(parts).encode())

"""What a folder holds before anything is written to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from microtome import io
from microtome.errors import IntegrityError, SubjectMismatch, UsageError
from microtome.subject.recording import disk
from microtome.subject.recording.plan import Plan


def survey(folder: Path, manifest: io.Manifest) -> dict[str, dict[str, Any]]:
    """What is committed in a folder that is ours or empty, after removing unfinished files and checking sizes."""
    if not folder.exists():
        return {}
    entries = manifest.entries()
    ours = (disk.PLAN, disk.META, disk.INDEX, disk.TABLE, "manifest.jsonl", "shard-", ".microtome-")
    strange = [path.name for path in sorted(folder.iterdir()) if not path.name.startswith(ours)]
    if strange:
        raise UsageError(f"'{folder}' holds other files ({strange[0]!r}...). Choose an empty or a new folder.")
    io.sweep_temporaries(folder)
    for file, entry in entries.items():
        path = folder / file
        found = path.stat().st_size if path.is_file() else None
        if found != entry["bytes"]:
            raise IntegrityError(f"'{path}' should have {entry['bytes']} bytes, has {found}. Restore it or record again.")
    return entries


def same_plan(folder: Path, plan: Plan) -> Plan:
    """The plan that `folder` was started with, which `plan` must agree with in all but the expected rows."""
    before = Plan.from_json(io.read_json(folder / disk.PLAN))
    if before.fingerprint == plan.fingerprint:
        return before
    old, new = before.to_json(), plan.to_json()
    old |= {f"provenance {key}": value for key, value in old.pop("provenance").items()}
    new |= {f"provenance {key}": value for key, value in new.pop("provenance").items()}
    wrong = [key for key in sorted(old | new) if key != "rows" and old.get(key) != new.get(key)]
    words = ", ".join(f"{key} was {str(old.get(key))[:60]}, is {str(new.get(key))[:60]}" for key in wrong[:3])
    raise SubjectMismatch(
        f"'{folder}' holds a recording of another plan: {words}. Resume with the same subject, data and sites, or write "
        "to another folder."
    )

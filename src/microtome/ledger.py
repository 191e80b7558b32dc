"""The ledger of replications: what held, what did not, on which seeds, and whether the code has changed since."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from microtome.errors import FormatError
from microtome.replicate import Row
from microtome.replication import keys, load, source_folder

FORMAT = 1
STATUSES = ("working", "does not hold", "not yet")


@dataclass
class Ledger:
    """``replications/ledger.json`` beside the catalogue of all papers.

    Attributes
    ----------
    folder : Path
        The folder of replications.
    rows : dict of str to Row
        By key.
    catalog : tuple of dict
        All papers: room, id, key, name, title.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Ledger.read(folder).status("toy_superposition")
    'not yet'
    """

    folder: Path
    rows: dict[str, Row] = field(default_factory=dict)
    catalog: tuple[Mapping[str, Any], ...] = ()
    _put: set[str] = field(default_factory=set, repr=False)

    @classmethod
    def read(cls, folder: str | Path | None = None) -> "Ledger":
        """The ledger of a folder of replications; empty when it has none yet.

        Raises
        ------
        FormatError
            When the file is damaged or of another format.
        """
        from microtome.io import read_json

        place = source_folder(folder)
        ledger, catalog = place / "ledger.json", place / "catalog.json"
        content = read_json(ledger) if ledger.is_file() else {"format": FORMAT, "rows": {}}
        if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("rows"), dict):
            raise FormatError(f"'{ledger}' is not a ledger of format {FORMAT}; remake it with: microtome replicate --all")
        rows = {key: Row(key, row) for key, row in content["rows"].items()}
        return cls(place, rows, tuple(read_json(catalog)) if catalog.is_file() else ())

    def put(self, row: Row) -> None:
        """Adds or replaces a row."""
        self.rows[row.key] = row
        self._put.add(row.key)

    def write(self) -> Path:
        """Writes ``ledger.json`` (canonical, atomic); rows that others have written since it was read are kept.

        Raises
        ------
        StudyLocked
            Someone else has been writing it for longer than a minute.
        """
        from microtome.io import lock, write_json

        path = self.folder / "ledger.json"
        with lock(path, timeout=60):
            self.rows = {**Ledger.read(self.folder).rows, **{key: self.rows[key] for key in self._put}}
            write_json(path, {"format": FORMAT, "rows": {key: row.to_json() for key, row in sorted(self.rows.items())}})
        self._put.clear()
        return path

    def stale(self, key: str) -> list[str]:
        """Why the row of a replication no longer speaks of the code: what changed since; empty when nothing did."""
        if key not in self.rows:
            return ["never run"]
        now, then = load(key, self.folder).hashes(), self.rows[key].content["hashes"]
        changed = [] if now["replication"] == then["replication"] else ["replication"]
        names = sorted({*now["methods"], *then["methods"]})
        return changed + [name for name in names if now["methods"].get(name) != then["methods"].get(name)]

    def all_stale(self) -> dict[str, list[str]]:
        """Every replication that must run again, with what changed."""
        reasons = {key: self.stale(key) for key in keys(self.folder)}
        return {key: why for key, why in reasons.items() if why}

    def status(self, key: str) -> str:
        """"working", "does not hold" or "not yet"."""
        if key not in self.rows:
            return "not yet"
        return "working" if self.rows[key].holds else "does not hold"

    def counts(self) -> dict[str, int]:
        """How many papers of the catalogue have each status."""
        known = {entry["key"] for entry in self.catalog} | set(self.rows)
        found = [self.status(key) for key in known]
        return {status: found.count(status) for status in STATUSES}


def ledger_page(ledger: Ledger | None = None) -> str:
    """The ledger as a Markdown page for the docs.

    Parameters
    ----------
    ledger : Ledger, optional
        Default: that of the source checkout.

    Returns
    -------
    str
        A table of what was run, claim by claim with its null, then a table of all papers by room with their status.
    """
    ledger = Ledger.read() if ledger is None else ledger
    counts = ", ".join(f"{n} {status}" for status, n in ledger.counts().items())
    names = {entry["key"]: entry for entry in ledger.catalog}
    lines = [
        "# The ledger", "",
        "Each row is a claim of a paper, checked at small scale against its null. A claim holds when it passes its "
        "threshold on every seed (or its median, where it says so) and its null does not.", "",
        f"{counts}.", "",
        "| Paper | Claim | Measured (range) | Asked | Null (range) | Holds | Seeds | Seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for key, row in sorted(ledger.rows.items()):
        title = names.get(key, {}).get("title", key)
        lines += [_line(f"{title} (`{key}`)", row.content, claim) for claim in row.content["claims"]]
    lines += ["", "## All papers", "", "| Room | Paper | Key | Status |", "|---|---|---|---|"]
    lines += [
        f"| {entry['room']} | {_cell(entry['title'])} | `{entry['key']}` | {ledger.status(entry['key'])} |"
        for entry in ledger.catalog
    ]
    return "\n".join(lines) + "\n"


def _line(title: str, row: Mapping[str, Any], claim: Mapping[str, Any]) -> str:
    null = claim["null"]
    beside = _range(null) if "values" in null else f"none: {null['reason']}"
    asked = f"{claim['direction']} {claim['threshold']:.4g}" + (" (median)" if claim["over"] == "median" else "")
    holds = "yes" if claim["holds"] else ("no" if claim["beyond_null"] else "no: the null passes too")
    cells = (title, claim["statement"], _range(claim), asked, beside, holds, len(row["seeds"]), row["total_seconds"])
    return "| " + " | ".join(_cell(c) for c in cells) + " |"


def _range(values: Mapping[str, Any]) -> str:
    low, high = values["range"]
    return f"{values['median']:.4g} ({low:.4g} to {high:.4g})"


def _cell(value: object) -> str:
    text = str(value).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return " ".join(text.split())

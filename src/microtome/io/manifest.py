"""The list of what a folder holds: one line per committed file, each line sealed to the one before."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from microtome.errors import FormatError, IntegrityError, UnsafeContent, UsageError
from microtome.io.atomic import TEMPORARY, Written
from microtome.io.hashing import hash_file
from microtome.io.jsonfile import dump_json, parse_json
from microtome.io.jsonlines import append_bytes, whole_line
from microtome.io.locks import OWNER, SUFFIX, lock
from microtome.io.paths import opened, safe_join

NAME = "manifest.jsonl"
_START = "microtome manifest 1"


@dataclass(frozen=True)
class Damage:
    """One difference between the manifest and the folder: which file, what was expected, what was found."""

    file: str
    kind: str
    """"missing", "size", "hash", "extra", "name" or "manifest"."""
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.file}: {self.kind}: expected {self.expected}, found {self.found}"


def _seal(before: str, body: Mapping[str, Any]) -> str:
    return hashlib.blake2b(before.encode() + dump_json(dict(body)), digest_size=16).hexdigest()


class Manifest:
    """The append-only list of the files of a folder (``manifest.jsonl``).

    A file counts as committed when its line is on disk. The last line for a name holds. Each line carries a seal over
    itself and the seal before, so that a changed, lost or moved line is noticed; a last line cut short by a killed
    writer is dropped.

    Parameters
    ----------
    folder : str or PathLike
        The folder; made at the first `add`.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     manifest = Manifest(folder)
    ...     file = pathlib.Path(folder, "a.txt")
    ...     _ = file.write_bytes(b"abc")
    ...     _ = manifest.add("a.txt", rows=1)
    ...     clean = manifest.verify()
    ...     _ = file.write_bytes(b"abd")
    ...     clean, [(damage.file, damage.kind) for damage in manifest.verify()]
    ([], [('a.txt', 'hash')])
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self.path = self.folder / NAME
        self._known = (0, _START)  # size of the manifest after our last line, and its seal

    def add(
        self,
        file: str,
        *,
        rows: int | None = None,
        facts: Mapping[str, Any] | None = None,
        written: Written | None = None,
    ) -> dict[str, Any]:
        """Commit a file that is already on disk; returns its entry {file, bytes, hash, rows, ...facts}.

        Parameters
        ----------
        file : str
            Its name relative to the folder.
        rows : int, optional
            Rows it holds.
        facts : mapping, optional
            Further JSON values; the names file, bytes, hash, rows and seal are taken.
        written : Written, optional
            Size and hash as the writer returned them; without it the file is read again.

        Raises
        ------
        StorageError
            The line could not be written; the manifest is as before.
        UnsafeContent
            The name leaves the folder.
        """
        place = safe_join(self.folder, file)
        facts = dict(facts or {})
        if taken := {"file", "bytes", "hash", "rows", "seal"} & set(facts):
            raise UsageError(f"the fact names {sorted(taken)} are taken by the manifest. Choose other names.")
        if written is None:
            written = Written(place.stat().st_size if place.is_file() else 0, hash_file(place))
        entry: dict[str, Any] = {"file": file, "bytes": written.bytes, "hash": written.hash, **facts}
        if rows is not None:
            entry["rows"] = rows
        with lock(self.path, timeout=60.0):
            sealed = {**entry, "seal": _seal(self._last_seal(), entry)}
            append_bytes(self.path, dump_json(sealed) + b"\n")
            self._known = (self.path.stat().st_size, sealed["seal"])
        return entry

    def entries(self) -> dict[str, dict[str, Any]]:
        """The committed entries by file name, in the order of their first line; empty when there is no manifest.

        Raises
        ------
        IntegrityError
            A line was changed, lost or moved.
        """
        lines, problems, _ = self._lines()
        if problems:
            raise self._broken(problems[0])
        return {line["file"]: {key: value for key, value in line.items() if key != "seal"} for line in lines}

    def __contains__(self, file: object) -> bool:
        return file in self.entries()

    def __len__(self) -> int:
        return len(self.entries())

    def check(self, file: str) -> Path:
        """The path of one committed file, after its size and hash were compared with the manifest.

        Raises
        ------
        IntegrityError
            It differs, is missing, or was never committed.
        """
        entry = self.entries().get(file)
        if entry is None:
            raise IntegrityError(f"'{file}' is not in the manifest of '{self.folder}'. Record it again.")
        if damage := self._compare(entry):
            raise IntegrityError(f"'{self.folder}' is damaged: {damage}. Restore the file, or delete it and resume.")
        return safe_join(self.folder, file)

    def verify(self) -> list[Damage]:
        """Compare every file of the folder with its entry; an empty list means that all agree."""
        lines, damages, torn = self._lines()
        if torn:
            damages.append(Damage(NAME, "manifest", "a whole last line", f"{torn} bytes without a line end"))
        latest = {line["file"]: line for line in lines}
        damages += [damage for entry in latest.values() if (damage := self._compare(entry))]
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            ours = path.name in (NAME, NAME + SUFFIX, NAME + OWNER) or path.name.startswith(TEMPORARY)
            if name not in latest and not ours and not path.name.endswith((SUFFIX, OWNER)) and not _plain_folder(path):
                damages.append(Damage(name, "extra", "no such file", f"{path.lstat().st_size} bytes"))
        return damages

    def _last_seal(self) -> str:
        """The seal to continue from; the whole manifest is checked again only if someone else wrote to it."""
        if (self.path.stat().st_size if self.path.is_file() else 0) == self._known[0]:
            return self._known[1]
        lines, problems, _ = self._lines()
        if problems:
            raise self._broken(problems[0])
        return lines[-1]["seal"] if lines else _START

    def _compare(self, entry: Mapping[str, Any]) -> Damage | None:
        name = entry["file"]
        try:
            path = safe_join(self.folder, name)
        except UnsafeContent as error:
            return Damage(name, "name", "a name inside the folder", str(error)[:200])
        if not path.is_file():
            return Damage(name, "missing", f"{entry['bytes']} bytes", "nothing")
        if (size := path.stat().st_size) != entry["bytes"]:
            return Damage(name, "size", f"{entry['bytes']} bytes", f"{size} bytes")
        if (found := hash_file(path)) != entry["hash"]:
            return Damage(name, "hash", str(entry["hash"]), found)
        return None

    def _lines(self) -> tuple[list[dict[str, Any]], list[Damage], int]:
        """The readable lines, what is wrong with the others, and the length of a last line cut short."""
        if not self.path.is_file():
            return [], [], 0
        with opened(self.path) as file:
            whole, _, tail = file.read().rpartition(b"\n")
        rows = whole.split(b"\n") if whole else []
        if whole_line(tail):  # only its line end is missing
            rows = [*rows, tail]
        lines: list[dict[str, Any]] = []
        problems: list[Damage] = []
        before = _START
        for number, row in enumerate(rows, 1):
            try:
                line = parse_json(row, f"line {number}")
                body = {key: value for key, value in line.items() if key != "seal"}
                if [type(body[key]) for key in ("file", "bytes", "hash")] != [str, int, str]:
                    raise KeyError("file, bytes or hash of another type")
                if dump_json(line) != row:
                    raise FormatError("an entry in another spelling")
                expected, found = _seal(before, body), str(line["seal"])
                lines.append(line)
            except (FormatError, AttributeError, KeyError) as error:
                expected, found = "an entry with file, bytes, hash and seal", str(error)[:120]
            if expected != found:
                problems.append(Damage(NAME, "manifest", f"line {number}: {expected}", found))
            before = found if lines and lines[-1].get("seal") == found else before
        return lines, problems, len(tail)

    def _broken(self, damage: Damage) -> IntegrityError:
        return IntegrityError(f"the manifest of '{self.folder}' was changed: {damage}. Restore it from a copy.")


def _plain_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()

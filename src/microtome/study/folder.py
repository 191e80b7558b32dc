"""The folder of a study: settings, one file per finished stage, findings, report, and a manifest of hashes."""

from pathlib import Path
from typing import Any

from microtome import io
from microtome.errors import SubjectMismatch
from microtome.study.blocks import Section

FORMAT = "microtome.study"


class StudyFolder:
    """A directory that holds a study.

    Parameters
    ----------
    path : path
        Made when it is not there.
    settings : dict
        Subject and data fingerprints, seed, versions: a folder with other settings is refused.

    Raises
    ------
    SubjectMismatch
        When the folder holds another study.
    """

    def __init__(self, path: str | Path, settings: dict[str, Any] | None = None) -> None:
        self.path = Path(path)
        self.file = self.path / "study.json"
        if settings is not None:
            self.path.mkdir(parents=True, exist_ok=True)
            self._claim({"format": FORMAT, "version": 1, **settings})
        self.manifest = io.Manifest(self.path)

    def _claim(self, settings: dict[str, Any]) -> None:
        if self.file.exists():
            found = io.read_json(self.file)
            differ = [k for k in settings if k != "versions" and found.get(k) != settings[k]]
            if differ:
                raise SubjectMismatch(
                    f"'{self.path}' holds another study: {', '.join(f'{k} was {found.get(k)!r}' for k in differ)}. "
                    "Choose another folder with --out."
                )
        else:
            io.write_json(self.file, settings)

    @property
    def settings(self) -> dict[str, Any]:
        """What was studied."""
        return io.read_json(self.file)

    def done(self, key: str) -> Section | None:
        """The section of a finished stage, or None."""
        file = self.path / "sections" / f"{key}.json"
        return Section.from_dict(io.read_json(file)) if file.exists() else None

    def keep(self, section: Section) -> None:
        """Commit a finished stage."""
        (self.path / "sections").mkdir(exist_ok=True)
        self.write_json(f"sections/{section.key}.json", section.to_dict())

    def write_json(self, name: str, data: Any) -> None:
        """Write a JSON file of the study and enter its hash in the manifest."""
        self.manifest.add(name, written=io.write_json(self.path / name, data))

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file of the study and enter its hash in the manifest."""
        self.manifest.add(name, written=io.write_text(self.path / name, text))
        return self.path / name

    def enter(self) -> None:
        """Enter every file that stages left beside their sections: bases, circuits. Recordings keep manifests of their own."""
        for file in sorted(self.path.rglob("*")):
            name = file.relative_to(self.path).as_posix()
            own = name.startswith("recordings/") or name.endswith((".lock", ".lock-owner", "manifest.jsonl"))
            if file.is_file() and not own and name not in self.manifest:
                self.manifest.add(name)

    def verify(self) -> list[Any]:
        """Every file that is missing, changed or strange, with what was expected and found."""
        return self.manifest.verify()

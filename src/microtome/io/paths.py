"""Names from files and people, turned into paths that stay inside their folder."""

import contextlib
import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from microtome.errors import FormatError, StorageError, UnsafeContent, UsageError, nearest

# Characters that look like, or are turned by some layer into, a separator or a dot.
_LOOKALIKES = frozenset("\\⁄∕⟋⧸⧵⧹╱╲／＼﹨．․‥…。｡﹒")
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\..*)?", re.IGNORECASE)
_REPOSITORY = re.compile(r"(models|datasets|spaces)--.+")


def name_problem(name: object) -> str | None:
    """Why `name` may not be used below a folder, or None when it may."""
    if not isinstance(name, str):
        return f"it is a {type(name).__name__}, not text"
    if not name:
        return "it is empty"
    if len(name.encode("utf-8", errors="surrogatepass")) > 1024:
        return "it is longer than 1024 bytes"
    for character in name:
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            return f"it contains the control character U+{ord(character):04X}"
        if character in _LOOKALIKES:
            return f"it contains {character!r}, a separator or dot in disguise"
        if character in '#?:*"<>|':
            return f"it contains {character!r}"
    if re.search(r"%[0-9a-fA-F]{2}", name):
        return "it contains a percent-encoded character"
    if name.startswith("/"):
        return "it is absolute"
    if name.startswith("~"):
        return "it starts with '~'"
    for part in name.split("/"):
        if part == "":
            return "it has an empty part"
        if set(part) == {"."}:
            return f"it has the part {part!r}"
        if part != part.strip() or part.endswith("."):
            return f"the part {part!r} starts or ends with a blank or ends with a dot"
        if len(part.encode()) > 255:
            return "it has a part longer than 255 bytes"
        if _DEVICES.fullmatch(part):
            return f"the part {part!r} is a device on some systems"
    return None


def safe_join(root: str | os.PathLike, name: str) -> Path:
    """The path of `name` below `root`, where `name` came from a file, an archive or a request.

    Two checks: on the name itself (no ``..``, absolute, drive, NUL, backslash, percent-encoding, look-alike separators,
    ``#``, ``?``, control characters) and on the place it resolves to, which must lie inside `root`. A `root` that is a
    snapshot of the Hugging Face hub cache (``models--*/snapshots/<revision>``) may point into that repository's
    ``blobs``.

    Parameters
    ----------
    root : str or PathLike
        The folder, chosen by the user and trusted.
    name : str
        A relative name with ``/`` between the parts; the file need not exist.

    Returns
    -------
    Path
        ``root / name``, not resolved.

    Raises
    ------
    UnsafeContent
        The name, or a link on its way, leaves the folder.

    Notes
    -----
    The check and a later open are two steps: this does not defend a folder that someone else changes meanwhile.

    Examples
    --------
    >>> safe_join("weights", "model/layer.0.safetensors").as_posix()
    'weights/model/layer.0.safetensors'
    >>> safe_join("weights", "../secret")
    Traceback (most recent call last):
    microtome.errors.UnsafeContent: the name '../secret' may not be used below 'weights': it has the part '..'. ...
    """
    problem = name_problem(name)
    if problem is None:
        path = Path(root, name)
        real = os.path.realpath(path)
        if any(_inside(real, base) for base in _bases(Path(root))):
            return path
        problem = "a link on its way leaves the folder"
    raise UnsafeContent(
        f"the name {_shown(name)} may not be used below '{os.fspath(root)}': {problem}. "
        "Use a plain relative name inside that folder; if the file is a download, get it again from its author."
    )


def _bases(root: Path) -> Iterator[str]:
    yield os.path.realpath(root)
    for place in (Path(os.path.abspath(root)), Path(os.path.realpath(root))):
        for parent in place.parents:
            if parent.name == "snapshots" and _REPOSITORY.fullmatch(parent.parent.name):
                yield os.path.realpath(parent.parent / "blobs")


def _inside(path: str, base: str) -> bool:
    try:
        return os.path.commonpath([path, base]) == base
    except ValueError:  # different drives
        return False


def _shown(name: object) -> str:
    text = ascii(name)
    return text if len(text) <= 120 else f"{text[:117]}..."


def regular_file(path: str | os.PathLike) -> os.stat_result:
    """The stat of an ordinary, existing file; a typed error for anything else (a folder, a pipe, nothing)."""
    path = os.fspath(path)
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"no file '{path}'.{_neighbours(path)}") from None
    except ValueError as error:  # a NUL in the name
        raise UsageError(f"{_shown(path)} is not a path: {error}. Give the path of a file.") from None
    except OSError as error:
        raise StorageError(f"cannot read '{path}': {error.strerror}. Check the path and its permissions.") from error
    if stat.S_ISDIR(found.st_mode):
        raise UsageError(f"'{path}' is a folder, a file was expected.{_neighbours(os.path.join(path, 'x'))}")
    if not stat.S_ISREG(found.st_mode):
        raise FormatError(f"'{path}' is not an ordinary file. Copy its content into one.")
    return found


def _neighbours(path: str) -> str:
    folder, name = os.path.split(os.path.abspath(path))
    try:
        known = sorted(os.listdir(folder))[:2000]
    except OSError:
        return f" The folder '{folder}' does not exist either. Check the path."
    return nearest(name, known) or f" The folder '{folder}' holds {len(known)} other names. Check the path."


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """An ordinary file, open for reading; what the disk refuses is a `StorageError`."""
    regular_file(path)
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise StorageError(
            f"cannot read '{os.fspath(path)}': {error.strerror or error}. Check the file's permissions and the disk."
        ) from error

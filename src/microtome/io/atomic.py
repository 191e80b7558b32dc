"""Writes that either happened or did not: a reader sees the old file or the new one, never a part of it."""

import contextlib
import errno
import hashlib
import io
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from microtome.errors import StorageError
from microtome.io import _os

TEMPORARY = ".microtome-"  # prefix of unfinished files; `sweep_temporaries` removes only these


class Written(NamedTuple):
    """What was committed to disk: the number of bytes and their blake2b hash (as `hash_file` gives)."""

    bytes: int
    hash: str


class _Raw(io.RawIOBase):
    """A file descriptor whose writes pass through `_os` and are hashed on the way."""

    def __init__(self, fd: int):
        self.fd, self.size, self.abandoned, self.moved = fd, 0, False, False
        self._hash = hashlib.blake2b(digest_size=32)

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        data = os.read(self.fd, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data) -> int:
        if self.abandoned:  # the buffer above flushes once more when it is closed: let it
            return len(data)
        count = _os.write(self.fd, data)
        self._hash.update(memoryview(data)[:count])
        return count

    def seek(self, offset: int, whence: int = 0) -> int:
        before = os.lseek(self.fd, 0, os.SEEK_CUR)
        after = os.lseek(self.fd, offset, whence)
        self.moved |= after != before
        return after

    def tell(self) -> int:
        return os.lseek(self.fd, 0, os.SEEK_CUR)

    def fileno(self) -> int:
        # Hidden, so that no library writes around this layer.
        raise io.UnsupportedOperation("fileno")

    def written(self) -> Written:
        size = os.fstat(self.fd).st_size
        if self.moved:  # parts were written out of order: read the file again
            self._hash = hashlib.blake2b(digest_size=32)
            os.lseek(self.fd, 0, os.SEEK_SET)
            while block := os.read(self.fd, 1 << 20):
                self._hash.update(block)
        return Written(size, self._hash.hexdigest())

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self.fd)


class AtomicFile(io.BufferedRandom):
    """The file that `atomic_write` yields; `written` holds size and hash once the block has ended."""

    written: Written | None = None


@contextlib.contextmanager
def storage(path: str | os.PathLike, doing: str = "write") -> Iterator[None]:
    """Turn an OSError of the block into a `StorageError` that names the path and the way out."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot {doing} '{os.fspath(path)}': {error.strerror or error}. "
            f"What was committed before is intact. {_way_out(error.errno)}"
        ) from error


def _way_out(code: int | None) -> str:
    if code in (errno.ENOSPC, getattr(errno, "EDQUOT", -1)):
        return "Free some space or choose another folder, then run the same command again: it resumes."
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Check the permissions of the folder or choose another one."
    return "Check the disk, then run the same command again: it resumes."


def sync_folder(folder: str | os.PathLike) -> None:
    """Make renames in `folder` durable (a no-op where folders cannot be opened, as on Windows)."""
    if os.name == "nt":
        return
    fd = _os.open(os.fspath(folder), os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        _os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[AtomicFile]:
    """Open a binary file that replaces `path` when the block ends well, and leaves no trace when it does not.

    Temporary file in the same folder, flush, fsync, rename over `path`, fsync of the folder. Missing parent folders are
    made.

    Parameters
    ----------
    path : str or PathLike
        The file to write or replace.

    Yields
    ------
    AtomicFile
        A buffered binary file, seekable; its ``.written`` holds (bytes, hash) after the block.

    Raises
    ------
    StorageError
        The disk refused; the previous content of `path` is intact.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(pathlib.Path(folder) / "a.bin") as file:
    ...         _ = file.write(b"abc")
    ...     file.written.bytes, (pathlib.Path(folder) / "a.bin").read_bytes()
    (3, b'abc')
    """
    path = Path(path)
    with storage(path):
        _os.makedirs(path.parent, exist_ok=True)
        temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}.tmp"
        raw = _Raw(_os.open(os.fspath(temporary), _os.CREATE_NEW, 0o666))
        file = AtomicFile(raw, 1 << 20)
        try:
            yield file
            file.flush()
            file.written = raw.written()
            _os.fsync(raw.fd)
            file.close()
            _os.replace(os.fspath(temporary), os.fspath(path))
        except BaseException:
            raw.abandoned = True
            with contextlib.suppress(OSError, ValueError):
                file.close()
            with contextlib.suppress(OSError):
                _os.unlink(os.fspath(temporary))
            raise
        sync_folder(path.parent)


def write_bytes(path: str | os.PathLike, data: bytes) -> Written:
    """Write `data` to `path` atomically."""
    with atomic_write(path) as file:
        file.write(data)
    assert file.written is not None
    return file.written


def write_text(path: str | os.PathLike, text: str) -> Written:
    """Write `text` as UTF-8 to `path` atomically, line ends unchanged."""
    return write_bytes(path, text.encode("utf-8", errors="replace"))


def sweep_temporaries(folder: str | os.PathLike) -> list[Path]:
    """Remove what a killed writer left unfinished in `folder`; call it only while holding the folder's lock."""
    left = sorted(Path(folder).rglob(f"{TEMPORARY}*.tmp"))
    for path in left:
        with storage(path, "remove"):
            _os.unlink(os.fspath(path))
    return left

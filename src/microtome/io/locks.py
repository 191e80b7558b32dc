"""One writer at a time, and the process id of the one who holds the lock."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from microtome.errors import StorageError, StudyLocked
from microtome.io import _os

SUFFIX = ".lock"
OWNER = ".lock-owner"


@contextlib.contextmanager
def lock(path: str | os.PathLike, timeout: float = 0.0) -> Iterator[None]:
    """Hold the writer's lock of a file or folder for the length of the block.

    Parameters
    ----------
    path : str or PathLike
        The file or folder that will be written; the lock is a file beside it (`path` + ``.lock``).
    timeout : float, default 0
        Seconds to wait for another holder.

    Raises
    ------
    StudyLocked
        Someone else holds it; the error names the process and has it as ``.pid`` (None when unknown).
    StorageError
        The lock file cannot be made.

    Notes
    -----
    The system releases the lock when its holder dies, so a killed writer never leaves a study locked.
    """
    place = Path(os.path.abspath(path))
    file, owner = place.with_name(place.name + SUFFIX), place.with_name(place.name + OWNER)
    try:
        _os.makedirs(place.parent, exist_ok=True)
        held = FileLock(file, timeout=timeout, mode=0o666)
        held.acquire()
    except Timeout:
        raise _locked(place, owner) from None
    except (OSError, NotImplementedError) as error:
        raise StorageError(f"cannot lock '{place}': {error}. Choose a folder on a disk that has file locks.") from error
    try:
        with contextlib.suppress(OSError):  # the name is for the message only; the lock itself is held
            owner.write_text(str(os.getpid()))
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(owner)
        held.release()


def _locked(place: Path, owner: Path) -> StudyLocked:
    pid = None
    for _ in range(20):  # the holder writes its number just after it got the lock
        with contextlib.suppress(OSError, ValueError):
            pid = int(owner.read_text())
            break
        time.sleep(0.01)
    who = f"process {pid}" if pid is not None else "another process"
    error = StudyLocked(
        f"'{place}' is being written by {who}. Wait until it has finished, stop it, or write to another folder."
    )
    error.pid = pid  # type: ignore[attr-defined]
    return error

"""NumPy .npz archives: plain arrays only, sizes checked before anything is allocated."""

import io
import math
import os
import zipfile
from collections.abc import Mapping

import numpy as np

from microtome.errors import FormatError, UnsafeContent, UsageError
from microtome.io.atomic import Written, atomic_write
from microtome.io.paths import opened, regular_file

FREE_BYTES = 64 << 20  # unpacked sizes up to this are never suspicious
MAX_RATIO = 200


def read_npz(path: str | os.PathLike, max_bytes: int | None = None) -> dict[str, np.ndarray]:
    """Read the arrays of a .npz archive; arrays of Python objects are refused.

    Parameters
    ----------
    path : str or PathLike
        The archive.
    max_bytes : int, optional
        Most bytes that the unpacked arrays may take. Default: 64 MiB or 200 times the file, whichever is larger, which
        stops an archive built to fill the memory.

    Returns
    -------
    dict of str to ndarray
        Without the ``.npy`` of the members' names.

    Raises
    ------
    UnsafeContent
        A member holds pickled objects.
    FormatError
        The archive is damaged, claims too much, or its claims contradict each other.
    """
    size = regular_file(path).st_size
    limit = max(FREE_BYTES, MAX_RATIO * size) if max_bytes is None else max_bytes
    with opened(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                _check_members(path, members, limit)
                return {member.filename[:-4]: _read_member(path, archive, member) for member in members}
        except FormatError:
            raise
        except Exception as error:  # zipfile, zlib and numpy raise a dozen types on damaged input
            raise _error(path, f"{type(error).__name__}: {str(error)[:200]}") from None


def _check_members(path: str | os.PathLike, members: list[zipfile.ZipInfo], limit: int) -> None:
    names = [member.filename for member in members]
    if len(set(names)) != len(names):
        raise _error(path, "two members have the same name")
    for member in members:
        if not member.filename.endswith(".npy"):
            raise _error(path, f"the member {member.filename[:60]!r} is not a .npy array")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _error(path, f"the member {member.filename[:60]!r} uses an unusual compression")
    claimed = sum(member.file_size for member in members)
    if claimed > limit:
        raise _error(path, f"its arrays claim {claimed} bytes, more than the limit of {limit}; raise max_bytes if true")


def _read_member(path: str | os.PathLike, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            header = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            header = np.lib.format.read_array_header_2_0(file)
        else:
            raise _error(path, f"the member {member.filename[:60]!r} has the version {version}")
        shape, fortran, dtype = header
        if dtype.hasobject:
            raise UnsafeContent(
                f"'{os.fspath(path)}' holds pickled Python objects in {member.filename[:60]!r}: reading them could run "
                "code. Save plain number or text arrays instead."
            )
        if not all(isinstance(side, int) and side >= 0 for side in shape) or len(shape) > 32:
            raise _error(path, f"the member {member.filename[:60]!r} has the shape {str(shape)[:80]}")
        need = math.prod(shape) * dtype.itemsize
        if need != member.file_size - file.tell():
            wrong = f"{member.filename[:60]!r} of shape {str(shape)[:80]} needs {need} bytes"
            raise _error(path, f"{wrong} and has {member.file_size}")
        data = bytearray(file.read())
    if len(data) != need:
        raise _error(path, f"{member.filename[:60]!r} ends early")
    values = np.frombuffer(data, dtype=dtype, count=math.prod(shape)) if need else np.empty(math.prod(shape), dtype)
    return values.reshape(shape, order="F" if fortran else "C")


def _error(path: str | os.PathLike, wrong: str) -> FormatError:
    return FormatError(f"'{os.fspath(path)}' is not a valid .npz archive: {wrong}. Get it again or write it anew.")


def write_npz(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> Written:
    """Write arrays atomically as a compressed .npz; equal arrays give equal bytes.

    Raises
    ------
    UsageError
        An array holds Python objects.
    """
    with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in sorted(arrays):
            array = np.asarray(arrays[name])
            if array.dtype.hasobject:
                raise UsageError(f"cannot write {name!r}: it holds Python objects. Use a number or text dtype.")
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue(), zipfile.ZIP_DEFLATED)
    assert file.written is not None
    return file.written

"""Plain text files."""

import os

from microtome.errors import FormatError
from microtome.io.paths import opened, regular_file

MAX_BYTES = 1 << 30


def read_text(path: str | os.PathLike, max_bytes: int = MAX_BYTES) -> str:
    """The text of a UTF-8 file (a byte-order mark is dropped, line ends are kept as they are).

    Raises
    ------
    FormatError
        The file is longer than `max_bytes` (default 1 GiB) or is not UTF-8.
    """
    size = regular_file(path).st_size
    if size > max_bytes:
        raise FormatError(f"'{os.fspath(path)}' has {size} bytes, more than the limit of {max_bytes}. Raise max_bytes.")
    with opened(path) as file:
        data = file.read(max_bytes + 1)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(
            f"'{os.fspath(path)}' is not UTF-8 text: byte {error.start} is {data[error.start]:#04x}. Save it as UTF-8."
        ) from None

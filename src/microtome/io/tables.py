"""Tables: Parquet, CSV and JSON lines in, Parquet out."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microtome.errors import FormatError, UsageError
from microtome.io.atomic import Written, atomic_write
from microtome.io.jsonlines import read_jsonl
from microtome.io.paths import opened, regular_file

if TYPE_CHECKING:
    import pandas as pd

FREE_BYTES = 64 << 20
MAX_RATIO = 200
_SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl")


def read_table(path: str | os.PathLike, max_bytes: int | None = None) -> "pd.DataFrame":
    """Read a table, its format told by the name: .parquet, .csv, .tsv or .jsonl.

    Parameters
    ----------
    path : str or PathLike
        The file.
    max_bytes : int, optional
        Most bytes that a Parquet file may claim to unpack to, counted as 8 a cell at least. Default: 64 MiB or 200 times
        the file, whichever is larger.

    Returns
    -------
    DataFrame
        One row per line or record.

    Raises
    ------
    FormatError
        The file is damaged, not UTF-8, has lines of different lengths, or claims too much.
    UsageError
        The name has another ending.

    Notes
    -----
    Parquet is decoded by a large C++ library: a server should not decode files of strangers in its own process.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise UsageError(f"cannot tell the format of '{os.fspath(path)}'. Use a name ending in {', '.join(_SUFFIXES)}.")
    size = regular_file(path).st_size
    if suffix == ".parquet":
        return _read_parquet(path, max(FREE_BYTES, MAX_RATIO * size) if max_bytes is None else max_bytes)
    if suffix == ".jsonl":
        return _read_jsonl(path)
    return _read_csv(path, "\t" if suffix == ".tsv" else ",")


def _read_parquet(path: str | os.PathLike, limit: int) -> "pd.DataFrame":
    import pyarrow.parquet as pq

    with opened(path) as file:
        try:
            parquet = pq.ParquetFile(file, page_checksum_verification=True)
            facts = parquet.metadata
            groups = [facts.row_group(i) for i in range(facts.num_row_groups)]
            # a dictionary of one value takes no space in the file and 8 bytes a cell in memory
            claimed = max(sum(group.total_byte_size for group in groups), facts.num_rows * facts.num_columns * 8)
            if claimed > limit or any(group.total_byte_size < 0 for group in groups):
                raise _error(path, f"it claims {claimed} bytes, the limit is {limit}; raise max_bytes if true")
            return parquet.read(use_threads=False).to_pandas()
        except FormatError:
            raise
        except Exception as error:  # arrow, and to_pandas, which trusts the pandas notes of the file, fail in many ways
            raise _error(path, f"{type(error).__name__}: {str(error)[:200]}") from None


def _read_csv(path: str | os.PathLike, separator: str) -> "pd.DataFrame":
    import pandas as pd

    with opened(path) as file:
        try:
            return pd.read_csv(file, sep=separator, encoding="utf-8", low_memory=False)
        except Exception as error:  # ParserError, EmptyDataError, UnicodeError, OverflowError, csv.Error, ...
            raise _error(path, str(error)[:200]) from None


def _read_jsonl(path: str | os.PathLike) -> "pd.DataFrame":
    import pandas as pd

    rows: list[Any] = read_jsonl(path)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise _error(path, f"record {number} is a {type(row).__name__}, not an object")
    return pd.DataFrame.from_records(rows)


def _error(path: str | os.PathLike, wrong: str) -> FormatError:
    return FormatError(f"'{os.fspath(path)}' is not a readable table: {wrong}. Get it again, or export it once more.")


def write_table(path: str | os.PathLike, table: "pd.DataFrame") -> Written:
    """Write a table atomically as Parquet; equal tables give equal bytes (with equal library versions).

    Raises
    ------
    StorageError
        The disk refused; the previous file is intact.
    UsageError
        The name does not end in .parquet, or a column mixes types that Parquet does not have.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if Path(path).suffix.lower() != ".parquet":
        raise UsageError(f"cannot write '{os.fspath(path)}': tables are stored as Parquet. End the name in .parquet.")
    if bad := [name for name in table.columns if not isinstance(name, str)]:
        raise UsageError(f"cannot write the column name {bad[0]!r}: names must be text. Rename it with str(name).")
    try:
        arrow = pa.Table.from_pandas(table)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise UsageError(f"cannot write this table as Parquet: {error}. Give each column one type.") from None
    with atomic_write(path) as file:
        pq.write_table(arrow, file, compression="zstd", write_page_checksum=True)
    assert file.written is not None
    return file.written

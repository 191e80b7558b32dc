"""The table of a finding: which columns it may hold, and its exact form in JSON."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from microtome.errors import FormatError, NonFinite, UsageError
from microtome.evidence._arrays import finite

if TYPE_CHECKING:
    import pandas as pd

NUMBERS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")
TEXT = "text"


def checked_table(table: Any) -> "pd.DataFrame | None":
    """A copy with row numbers 0..n-1 and plain columns, or the error that says which column is not tidy."""
    if table is None:
        return None
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        raise UsageError(f"table must be a pandas DataFrame, got {type(table).__name__}.")
    names = list(table.columns)
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise UsageError(f"table columns must be distinct texts, got {names[:10]}.")
    broken = [name for name in names if any("\ud800" <= c <= "\udfff" for c in name)]
    if broken:  # half a surrogate pair: pandas cannot hold it as a name
        raise UsageError(f"table column names must be valid Unicode, got {broken[:3]!a}.")
    # Row numbers left over from sorting or filtering say nothing; a named or textual index would be lost.
    if table.index.names != [None] or not (pd.api.types.is_integer_dtype(table.index) or len(table) == 0):
        raise UsageError(f"table has an index {table.index.names}; call .reset_index() so that it becomes a column.")
    return pd.DataFrame({name: _column(table[name], name) for name in names}, index=pd.RangeIndex(len(table)), columns=names)


def encode_table(table: "pd.DataFrame | None") -> Any:
    """Columns with their dtype and exact values."""
    if table is None:
        return None
    columns = [{"name": n, "dtype": _dtype(table[n]), "values": table[n].tolist()} for n in table.columns]
    return {"rows": len(table), "columns": columns}


def decode_table(data: Any) -> "pd.DataFrame | None":
    """The table that `encode_table` described; FormatError when it is not one."""
    if data is None:
        return None
    import pandas as pd

    if not isinstance(data, Mapping) or set(data) != {"rows", "columns"} or not isinstance(data["columns"], list):
        raise FormatError("The table of a stored finding must hold exactly 'rows' and 'columns'.")
    rows = data["rows"]
    if isinstance(rows, bool) or not isinstance(rows, int) or rows < 0:
        raise FormatError(f"The table's row count must be an int >= 0, found {rows!r}.")
    columns = {}
    for column in data["columns"]:
        name, values = _decode_column(column)
        if len(values) != rows or name in columns:
            raise FormatError(f"Table column {name!r} is given twice or has {len(values)} values for {rows} rows.")
        columns[name] = values
    if not columns and rows > 10_000_000:
        raise FormatError(f"A table without columns claims {rows} rows.")
    return pd.DataFrame(columns, index=pd.RangeIndex(rows), columns=list(columns))


def _column(column: Any, name: str) -> Any:
    if column.dtype.name == "category":
        column = column.astype(column.cat.categories.dtype)
    missing = int(column.isna().sum())
    if missing:
        raise NonFinite(f"table column {name!r} holds {missing} missing values (NaN or None). Drop or fill these rows first.")
    kind = _dtype(column)
    if kind == TEXT:
        return text_column(column.tolist())
    values = column.to_numpy(dtype=kind)
    finite(values, f"table column {name!r}")
    return np.array(values)


def _dtype(column: Any) -> str:
    name = column.dtype.name.lower()
    if name == "boolean":
        name = "bool"
    if name in NUMBERS:
        return name
    if column.dtype.kind == "O":
        if all(isinstance(value, str) for value in column):
            return TEXT
        inferred = column.infer_objects().dtype.name
        if inferred in NUMBERS:
            return inferred
    raise UsageError(
        f"table column {column.name!r} has dtype {column.dtype}; a finding's table holds text, bool, int and float columns. "
        "Convert it, e.g. with .astype(str)."
    )


def text_column(values: list[str]) -> Any:
    """A column of text in one fixed dtype, whatever the installed pandas would infer."""
    import pandas as pd

    return pd.Series(values, dtype=object)


def _decode_column(column: Any) -> tuple[str, Any]:
    if not isinstance(column, Mapping) or set(column) != {"name", "dtype", "values"}:
        raise FormatError("A table column must hold exactly 'name', 'dtype' and 'values'.")
    name, dtype, values = column["name"], column["dtype"], column["values"]
    if not isinstance(name, str) or not isinstance(values, list) or dtype not in (*NUMBERS, TEXT):
        raise FormatError(f"Table column {name!r} is damaged, or its dtype {dtype!r} is unknown.")
    wanted = str if dtype == TEXT else bool if dtype == "bool" else (int, float) if dtype.startswith("float") else int
    if not all(isinstance(v, wanted) and (dtype == "bool" or not isinstance(v, bool)) for v in values):
        raise FormatError(f"Table column {name!r} holds values that are not of its dtype {dtype}.")
    if dtype == TEXT:
        return name, text_column(values)
    try:
        with np.errstate(over="raise"):
            return name, np.array(values, dtype=dtype)
    except (OverflowError, ValueError, FloatingPointError) as error:
        raise FormatError(f"Table column {name!r} holds values outside {dtype}: {error}.") from error

"""Where a command writes: standard output carries the answer alone, all else goes to standard error, without secrets."""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from microtome.cli.answer import Grid

log = logging.getLogger("microtome.cli")
#: Width of tables where there is no terminal to ask.
WIDTH = 120


class Guarded:
    """A stream that masks secrets, whoever writes; with `quiet` it is no terminal, so that progress bars stay away."""

    def __init__(self, stream: TextIO, quiet: bool) -> None:
        self._stream, self._quiet = stream, quiet

    def write(self, text: str) -> int:
        from microtome.io import redact

        self._stream.write(redact(text))
        return len(text)

    def isatty(self) -> bool:
        return not self._quiet and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def guarded(quiet: bool) -> Iterator[None]:
    """While a command works: prints of libraries, warnings and logs go to standard error, masked, one line each."""
    stream = Guarded(sys.stderr, quiet)
    handler = logging.StreamHandler(stream)  # type: ignore[arg-type]
    handler.setFormatter(logging.Formatter("%(message)s"))
    level, spread = log.level, log.propagate
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    log.addHandler(handler)
    log.propagate = False
    try:
        with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream), warnings.catch_warnings():  # type: ignore[type-var]
            warnings.simplefilter("default")
            for noise in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):  # meant for programmers
                warnings.simplefilter("ignore", noise)
            warnings.showwarning = _show_warning
            yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = spread


def _show_warning(message: Any, *_where: Any) -> None:
    log.warning("warning: %s", one_line(str(message)))


def one_line(text: str) -> str:
    """Text from anywhere as one harmless line: no secret, no control character, no line end."""
    from microtome.io import escape_terminal, redact

    return " ".join(escape_terminal(redact(text)).split())


def fail(label: str, text: str) -> None:
    """One line on standard error, its label red where there is colour."""
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble((f"{label}: ", "bold red"), one_line(text))
    Console(stderr=True, highlight=False).print(line, soft_wrap=True)


def show(shown: Sequence[str | Grid]) -> None:
    """Lines and tables on standard output; every text in them is data, never markup."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else WIDTH
    console = Console(highlight=False, markup=False, emoji=False, width=width)
    for part in shown:
        if isinstance(part, Grid):
            if part.title:
                console.print(_harmless(part.title), soft_wrap=True)
            console.print(_table(part))
        else:
            console.print(_harmless(part), soft_wrap=True)


def _table(grid: Grid) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_header=any(grid.columns), pad_edge=False)
    for i, name in enumerate(grid.columns):
        numbers = any(isinstance(row[i], (int, float)) for row in grid.rows)
        table.add_column(Text(_harmless(name)), justify="right" if numbers else "left", overflow="fold")
    for row in grid.rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    return table


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else _harmless(str(value))


def _harmless(text: str) -> str:
    from microtome.io import escape_terminal, redact

    return escape_terminal(redact(text))

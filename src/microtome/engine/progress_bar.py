"""One progress bar for all long work."""

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress(total: int | None, label: str) -> Iterator[Callable[[int], None]]:
    """Show how far work is, on standard error, and nothing at all when that is not a terminal.

    Parameters
    ----------
    total : int or None
        Steps in all; None when unknown.
    label : str
        What is being done.

    Yields
    ------
    callable
        ``advance(n)`` moves the bar by n steps.

    Examples
    --------
    >>> with progress(10, "recording") as advance:
    ...     advance(10)
    """
    if not (hasattr(sys.stderr, "isatty") and sys.stderr.isatty()):
        yield lambda n: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from microtome.io import escape_terminal

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(escape_terminal(label)), total=total)
        yield lambda n: bar.advance(task, n)

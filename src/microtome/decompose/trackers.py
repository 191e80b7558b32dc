"""Where figures go while training runs: anything with ``log(figures, step)``, and adapters for what has another name."""

from typing import Any, Protocol

from microtome.errors import UsageError


class Tracker(Protocol):
    """Takes figures by name at an update. Runs of Weights & Biases are trackers as they are."""

    def log(self, figures: dict[str, float], /, step: int) -> Any:
        """Record the figures of one update."""
        ...


class Console:
    """A line per call on standard error, through rich."""

    def __init__(self, file: Any = None) -> None:
        from rich.console import Console as Rich

        self._console = Rich(file=file, stderr=file is None, highlight=False)

    def log(self, figures: dict[str, float], /, step: int) -> None:
        from rich.markup import escape

        shown = "  ".join(f"{escape(name)} [bold]{value:.4g}[/]" for name, value in figures.items())
        self._console.print(f"[dim]{step:>8}[/]  {shown}", soft_wrap=True)


class _Adapted:
    def __init__(self, log: Any) -> None:
        self._log = log

    def log(self, figures: dict[str, float], /, step: int) -> None:
        self._log(figures, step)


def tracker_of(target: Any) -> Tracker | None:
    """A tracker from one, from a TensorBoard writer (``add_scalar``), from MLflow (``log_metrics``) or from a function.

    Parameters
    ----------
    target : object, optional
        ``"console"``; something with ``log(figures, step=)``, ``log_metrics(figures, step=)`` or
        ``add_scalar(name, value, step)``; a function of (figures, step); None for none.

    Raises
    ------
    UsageError
        When it is none of these.
    """
    if target is None:
        return None
    if target == "console":
        return Console()
    if hasattr(target, "log_metrics"):
        return _Adapted(lambda figures, step: target.log_metrics(figures, step=step))
    if hasattr(target, "add_scalar"):
        return _Adapted(lambda figures, step: [target.add_scalar(name, v, step) for name, v in figures.items()])
    if hasattr(target, "log"):
        return target
    if callable(target):
        return _Adapted(target)
    raise UsageError(f"a tracker needs log(figures, step), log_metrics or add_scalar; {type(target).__name__} has none.")

"""How a recording shows itself: shapes first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from microtome.engine.budget import format_bytes

if TYPE_CHECKING:
    from microtome.subject.recording.recording import Recording

#: Lines shown per list before "... more".
SHOWN = 12


def text(recording: Recording) -> str:
    """Rows and samples, then one line per site, then the properties."""
    lines = [f"Recording: {_count(len(recording), 'row')}{_samples(recording)}, {_where(recording)}"]
    sites = site_lines(recording)
    lines += [f"  {name} {shape}" for name, shape in sites[:SHOWN]]
    lines += [f"  ... {len(sites) - SHOWN} more"] if len(sites) > SHOWN else []
    if recording.properties:
        names = recording.properties
        more = f", ... {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        lines.append(f"  labels: {', '.join(names[:SHOWN])}{more}")
    return "\n".join(lines)


def html(recording: Recording) -> str:
    """The same as a small table; names are escaped."""
    from microtome.io import escape_html

    rows = "".join(
        f"<tr><td><code>{escape_html(name)}</code></td><td>{escape_html(shape)}</td></tr>"
        for name, shape in site_lines(recording)
    )
    labels = ", ".join(escape_html(name) for name in recording.properties)
    head = f"Recording: {_count(len(recording), 'row')}{_samples(recording)}, {_where(recording)}"
    return f"<p><b>{escape_html(head)}</b></p><table>{rows}</table>" + (f"<p>labels: {labels}</p>" if labels else "")


def site_lines(recording: Recording) -> list[tuple[str, str]]:
    """Name, and "[rows, features] dtype", of every site."""
    lines = []
    for name in recording.sites:
        one = recording[name]
        sizes = [_count(one.shape[0], "row"), *(_count(n, axis) for n, axis in zip(one.shape[1:], one.axes))]
        lines.append((name, f"[{', '.join(sizes)}] {str(one.dtype).removeprefix('torch.')}"))
    return lines


def _count(n: int, noun: str) -> str:
    plural = {"axis": "axis", "y": "y", "x": "x"}.get(noun, noun if noun[-1].isdigit() else f"{noun}s")
    return f"{n:,} {noun if n == 1 else plural}"


def _samples(recording: Recording) -> str:
    return f" of {_count(recording.index['sample'].nunique(), 'sample')}"


def _where(recording: Recording) -> str:
    ones = [recording[name] for name in recording.sites]
    total = sum(one.dtype.itemsize * _product(one.shape) for one in ones)
    return f"{getattr(recording._store, 'where', 'stored')} ({format_bytes(total)})"


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total

"""A finding as a page fragment and as terminal text. Every text in it is data: escaped, never markup or control codes."""

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from microtome.evidence.null import Null

if TYPE_CHECKING:
    from microtome.evidence.finding import Finding

ROWS_HTML, ROWS_TEXT, COLUMNS_TEXT, WIDTH, CELL = 50, 6, 8, 110, 28
COLOURS = {"supported": "#1a7f37", "not supported": "#9a6700", "refuted": "#cf222e", "undetermined": "#57606a"}


def plain(text: str) -> str:
    """The text with control, bidirectional and other unprintable characters spelt out, so that it cannot move the cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def terminal(finding: "Finding") -> str:
    """At most one screen of text."""
    lines = [_cut(f"Finding: {plain(finding.claim)}", 2 * WIDTH), f"  verdict   {finding.verdict}. {plain(finding.reason)}"]
    if finding.estimate is not None:
        lines.append(f"  estimate  {plain(str(finding.estimate))}")
    lines += _few([f"  null      {plain(str(null))}" for null in finding.nulls], 4)
    lines += _few([f"  control   {plain(name)}: {plain(_number(value))}" for name, value in finding.controls.items()], 4)
    lines += _few([f"  note      {plain(note)}" for note in finding.notes], 4)
    if finding.table is not None:
        lines += _table_lines(finding.table)
    made = finding.provenance
    named = (("subject", made.subject), ("data", made.data), ("code", made.code))
    source = "".join(f"{name} {plain(text)}, " for name, text in named if text)
    lines.append(f"  made      {source}seed {made.seed}, {made.seconds:.3g} s, {made.forwards:g} forwards")
    return "\n".join(_cut(line, 2 * WIDTH) for line in lines)


def html(finding: "Finding") -> str:
    """A self-contained fragment: no script, no link, no outside resource."""
    colour = COLOURS[finding.verdict]
    parts = [
        '<div style="font-family:system-ui,sans-serif;border:1px solid #d0d7de;border-radius:6px;padding:12px;max-width:60em">',
        f'<p style="margin:0 0 6px"><strong>{escape(plain(finding.claim))}</strong></p>',
        f'<p style="margin:0 0 6px"><span style="color:{colour};font-weight:600">{finding.verdict}</span> '
        f"{escape(plain(finding.reason))}</p>",
    ]
    if finding.estimate is not None:
        how = f" <small>{escape(plain(finding.estimate.method))}</small>" if finding.estimate.method else ""
        parts.append(f"<p>Estimate: {escape(plain(str(finding.estimate)))}{how}</p>")
    for null in finding.nulls:
        parts.append(f"<p>Null, {escape(plain(str(null)))}<br>{histogram(null)}</p>")
    if finding.controls:
        items = "".join(f"<li>{escape(plain(k))}: {escape(plain(_number(v)))}</li>" for k, v in finding.controls.items())
        parts.append(f"<p>Controls</p><ul>{items}</ul>")
    if finding.notes:
        parts.append("<p>Notes</p><ul>" + "".join(f"<li>{escape(plain(n))}</li>" for n in finding.notes) + "</ul>")
    if finding.table is not None:
        parts.append(_table_html(finding.table))
    made = finding.provenance
    facts = [("subject", made.subject), ("data", made.data), ("code", made.code), ("seed", str(made.seed))]
    facts += [("seconds", f"{made.seconds:.3g}"), ("forwards", f"{made.forwards:g}"), *made.versions.items()]
    parts.append(f"<small>{escape(plain(', '.join(f'{k} {v}' for k, v in facts if v)))}</small></div>")
    return "\n".join(parts)


def histogram(null: Null, bins: int = 30, width: int = 360, height: int = 60) -> str:
    """An inline SVG: grey bars are the null's draws, the line is the observed value."""
    low = min(float(null.statistics.min()), null.observed)
    high = max(float(null.statistics.max()), null.observed)
    span = high - low
    if not np.isfinite(span) or span <= 0:  # all equal, or too wide to draw
        return f"<small>every draw is within rounding of {null.observed:.4g}</small>" if span == 0 else ""
    counts = np.bincount(np.minimum(((null.statistics - low) / span * bins).astype(int), bins - 1), minlength=bins)
    bar = width / bins
    rects = "".join(
        f'<rect x="{i * bar:.1f}" y="{height - height * c / counts.max():.1f}" width="{bar:.1f}" '
        f'height="{height * c / counts.max():.1f}" fill="#afb8c1"/>'
        for i, c in enumerate(counts) if c
    )
    at = (null.observed - low) / span * width
    line = f'<line x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{height}" stroke="#cf222e" stroke-width="2"/>'
    label = "null draws and the observed value"
    return f'<svg width="{width}" height="{height}" role="img" aria-label="{label}">{rects}{line}</svg>'


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _few(lines: list[str], most: int) -> list[str]:
    return lines if len(lines) <= most else [*lines[: most - 1], f"            and {len(lines) - most + 1} more"]


def _table_lines(table) -> list[str]:
    shown = table.iloc[:ROWS_TEXT, :COLUMNS_TEXT]
    cells = [[_cut(plain(str(name)), CELL) for name in shown.columns]]
    cells += [[_cut(plain(_number(value)), CELL) for value in row] for row in shown.itertuples(index=False, name=None)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ["    " + "  ".join(c.rjust(w) for c, w in zip(row, widths)) for row in cells] if widths else []
    more = "" if shown.shape == table.shape else f", first {len(shown)} rows and {shown.shape[1]} columns shown"
    return [f"  table     {len(table)} rows, {table.shape[1]} columns{more}", *lines]


def _table_html(table) -> str:
    shown = table.iloc[:ROWS_HTML]
    head = "".join(f"<th>{escape(plain(name))}</th>" for name in shown.columns)
    rows = shown.itertuples(index=False, name=None)
    body = "".join("<tr>" + "".join(f"<td>{escape(plain(_number(v)))}</td>" for v in row) + "</tr>" for row in rows)
    more = f"<small>first {len(shown)} of {len(table)} rows</small>" if len(shown) < len(table) else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"

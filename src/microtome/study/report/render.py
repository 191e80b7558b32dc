"""Sections and facts as one HTML page. Every word in it is data: it passes one escape on its way into a template."""

import hashlib
from collections import Counter
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from microtome.errors import UsageError
from microtome.io import escape_html
from microtome.study.blocks import Section
from microtome.study.report import digits
from microtome.study.report.charts.bars import bar_rows
from microtome.study.report.charts.columns import columns
from microtome.study.report.charts.heatmap import grid
from microtome.study.report.charts.histogram import histogram
from microtome.study.report.charts.lines import plot
from microtome.study.report.charts.points import points
from microtome.study.report.pieces import apart, cards, cells, frame_cells, pictures, token_lines

VERDICTS = {"supported": "yes", "not supported": "no", "refuted": "refuted", "undetermined": "open"}
#: How a verdict looks; cards of units have two of their own.
BADGES = {**VERDICTS, "described": "yes", "undescribed": "no"}


def render(title: str, subtitle: str, sections: list[Section], facts: dict[str, str]) -> str:
    """One self-contained HTML page: what was found and how sure, then every section, then how it was made.

    Parameters
    ----------
    title, subtitle : str
        What was studied; on what.
    sections : list of Section
        In the order of the page.
    facts : dict of str to str
        Subject, data, seed, versions, seconds, hashes: printed at the end.

    Returns
    -------
    str
        HTML without anything to fetch, and without scripts; where there is a `Graph`, its own script is allowed by its hash
        and no other. The same arguments give the same text.

    Raises
    ------
    UsageError
        When an argument is of the wrong kind.
    ShapeError
        When a block's values and labels disagree in number.

    Notes
    -----
    Null: shown beside each finding: the observed value against mean and middle 95% of the null's draws, and p.
    Misleads when only the lead sentences are read; the verdict stands in the badge.

    Examples
    --------
    >>> page = render("A study", "of nothing", [], {"seed": "0"})
    >>> page.startswith("<!doctype html>"), "<script" in page
    (True, False)
    """
    wrong = [type(s).__name__ for s in sections if not isinstance(s, Section)]
    if wrong:
        raise UsageError(f"render needs Section objects, found {sorted(set(wrong))}.")
    environment = _environment()
    counts = Counter(f.verdict for s in sections for f in s.findings)
    summary = [f"{counts[v]} {v}" for v in VERDICTS if counts[v]]
    graphs = any(block.kind == "graph" for s in sections for block in s.blocks)
    page = environment.get_template("page.html").render(
        title=title, subtitle=subtitle, sections=sections, facts=facts, summary=summary, allowed=_allowed() if graphs else ""
    )
    return page + "\n"


@cache  # compiling the templates takes ten times as long as filling them
def _environment() -> Environment:
    """Templates that escape twice over: `finalize` makes every value safe text, autoescape catches what it would miss."""
    made = Environment(
        loader=PackageLoader("microtome.study.report"), autoescape=True, undefined=StrictUndefined,
        finalize=_safe, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.globals |= {
        "bar_rows": bar_rows, "grid": grid, "plot": plot, "columns": columns, "points": points, "histogram": histogram,
        "token_lines": token_lines, "cells": cells, "frame_cells": frame_cells, "pictures": pictures, "cards": cards,
        "badges": BADGES, "graph": _graph, "weakest": _weakest,
    }  # fmt: skip
    made.filters |= {
        "number": digits.number, "cell": digits.cell, "p": digits.p_value, "estimate": digits.estimate,
        "chance": digits.chance, "shorten": digits.shorten, "apart": apart,
    }  # fmt: skip
    return made


def _allowed() -> Markup:
    from microtome.trace.view import script_hash

    return Markup(script_hash())


def _graph(block: Any) -> Markup:
    """The drawing; two of one title on a page show one graph."""
    from microtome.trace.view import drawn

    return Markup(drawn(block.facts, name="g" + hashlib.sha256(block.title.encode()).hexdigest()[:12]))


def _safe(value: Any) -> Markup:
    return value if isinstance(value, Markup) else Markup(escape_html(value))


def _weakest(finding: Any) -> Any:
    """The null that is hardest to beat: the one that decides the verdict."""
    return max(finding.nulls, key=lambda null: null.p, default=None)

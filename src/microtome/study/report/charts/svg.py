"""Elements of SVG as escaped text, and the scale that places a number between two ends."""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence

from markupsafe import Markup

from microtome.io import escape_html
from microtome.study.report.digits import finite

#: Plots are drawn 1000 units wide and stretched by the page: strokes keep their width and words stay outside.
WIDTH = 1000


def element(name: str, attributes: Mapping[str, object], children: "Iterable[Markup] | str" = ()) -> Markup:
    """One element. Attribute values and text children are escaped; children that are elements are kept."""
    inside = escape_html(children) if isinstance(children, str) else "".join(children)
    listed = "".join(f' {key}="{escape_html(_short(value))}"' for key, value in attributes.items())
    return Markup(f"<{name}{listed}>{inside}</{name}>" if inside else f"<{name}{listed}/>")


def drawing(css: str, label: str, children: Iterable[Markup], height: float = 100, width: float = WIDTH) -> Markup:
    """An SVG that fills its box, told to a screen reader in one sentence."""
    about = {"class": css, "viewBox": f"0 0 {width:g} {height:g}", "preserveAspectRatio": "none", "role": "img"}
    return element("svg", {**about, "aria-label": label}, children)


def line(css: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    """A straight stroke."""
    return element("path", {"class": css, "d": f"M{_short(x1)} {_short(y1)}L{_short(x2)} {_short(y2)}"})


def dot(css: str, x: float, y: float, title: str) -> Markup:
    """A point that stays round when the plot is stretched: a stroke of no length with round ends."""
    return element("path", {"class": css, "d": f"M{_short(x)} {_short(y)}h.01"}, [element("title", {}, title)])


class Scale:
    """Places numbers of [low, high] on [start, end]; a range without width is widened."""

    def __init__(self, low: float, high: float, start: float = 0, end: float = WIDTH):
        if not high / 2 - low / 2 > 0:  # one value, or two that no float lies between
            margin = max(0.5, abs(low) / 100)
            low, high = max(low - margin, -sys.float_info.max), min(high + margin, sys.float_info.max)
        self.low, self.high, self.start, self.end = low, high, start, end

    def __call__(self, value: float) -> float:
        # Halves first: the width of a range near the largest float would overflow.
        share = (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def percent(self, value: float) -> float:
        """Where the number stands, in percent of the way."""
        return round(100 * (self(value) - self.start) / (self.end - self.start), 2)


def extent(values: Iterable[object]) -> tuple[float, float] | None:
    """The smallest and the largest number, or None without any."""
    found = [float(v) for v in values if finite(v)]  # type: ignore[arg-type]
    return (min(found), max(found)) if found else None


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers inside [low, high], about as many as asked.

    >>> ticks(0.0, 0.93)
    [0.0, 0.2, 0.4, 0.6, 0.8]
    """
    span = high - low
    if not (math.isfinite(span) and span > 1e-300):
        return [low] if low == high else [low, high]
    power = 10.0 ** math.floor(math.log10(span / about))
    step = next((m * power for m in (1, 2, 5, 10) if span / (m * power) <= about + 1.5), 10 * power)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    found = [float(f"{i * step:.10g}") for i in range(first, last + 1)]
    return found if 1 < len(found) <= 3 * about else [low, high]


def longest(labels: Sequence[str]) -> int:
    """Characters of the longest label."""
    return max(map(len, labels), default=0)


def _short(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value

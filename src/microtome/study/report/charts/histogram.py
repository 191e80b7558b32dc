"""The draws of a null, and where the observed value lies."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from microtome.evidence import Null
from microtome.study.report.charts.svg import WIDTH, Scale, drawing, element, line
from microtome.study.report.digits import chance, number, p_value

HEIGHT, FEW = 100, 15


@dataclass(frozen=True)
class Histogram:
    """A drawn null: the ends of its axis, and where the observed value stands, in percent."""

    svg: Markup
    low: str
    high: str
    at: float


def histogram(null: Null) -> Histogram | None:
    """Bars of the draws (one stroke each when they are few), the middle 95% underlined; None when all numbers are equal."""
    draws = np.asarray(null.statistics, dtype=float)
    low, high = min(float(draws.min()), null.observed), max(float(draws.max()), null.observed)
    if not (np.isfinite(high - low) and high - low > 0):
        return None
    scale = Scale(low, high, start=12, end=WIDTH - 12)
    parts = [line("null-draw", scale(v), 18, scale(v), 88) for v in draws.tolist()] if len(draws) < FEW else _bins(draws, scale)
    inner = [scale(float(v)) for v in np.quantile(draws, [0.025, 0.975])]
    parts += [line("zero", 0, 88, WIDTH, 88), line("null-range", inner[0], 94, inner[1], 94)]
    parts.append(line("observed", scale(null.observed), 0, scale(null.observed), 88))
    mean, middle = chance(null)
    words = f"{null.kind}: observed {number(null.observed)}, null mean {mean} ({middle}), {p_value(null.p)}"
    at = round(scale(null.observed) / WIDTH * 100, 2)
    return Histogram(drawing("histogram", words, parts, HEIGHT), number(low), number(high), at)


def _bins(draws: np.ndarray, scale: Scale) -> list[Markup]:
    count = 40 if len(draws) >= 100 else 20
    span = scale.high - scale.low
    places = np.minimum(((draws - scale.low) / span * count).astype(int), count - 1)
    counts = np.bincount(places, minlength=count)
    wide, tallest = (scale.end - scale.start) / count, counts.max()
    found = [(scale.start + i * wide + 1, 70 * n / tallest) for i, n in enumerate(counts.tolist()) if n]
    boxes = [{"x": x, "y": 88 - height, "width": wide - 2, "height": height} for x, height in found]
    return [element("rect", {"class": "null-bar", **box}) for box in boxes]

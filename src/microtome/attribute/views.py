"""Attributions to look at: token highlights, overlays on images, figures. Views are made of copies; values stay raw."""

from typing import Any

import numpy as np
from torch import Tensor

from microtome.attribute.attribution import Attribution, highlight_values
from microtome.errors import MissingExtra, ShapeError, UsageError
from microtome.io import escape_html

#: Of what speaks for the answer, and of what speaks against it; as in the reports.
FOR, AGAINST = (38, 106, 191), (213, 94, 0)
#: Examples that a notebook shows.
SHOWN = 4


def highlight(attribution: Attribution, example: int = 0) -> str:
    """The tokens of one example as HTML, shaded blue where they speak for the answer and orange where against it.

    Without script, link or class, so that it can stand on any page; token texts are escaped. The number of each token is its
    title.

    Raises
    ------
    UsageError
        When the attribution has no tokens, or no such example.
    """
    _exists(attribution, example)
    if attribution.tokens is None:
        raise UsageError(f"{attribution.method} at {attribution.site} has no tokens; see .plot() or overlay(...).")
    shade, raw = highlight_values(attribution, example), attribution.by_position()[example].double().numpy()
    real = np.ones(len(raw), dtype=bool) if attribution.mask is None else attribution.mask[example].numpy()
    parts = []
    for token, s, value in zip(attribution.tokens[example], shade[real], raw[real]):
        colour = ", ".join(map(str, FOR if s > 0 else AGAINST))
        style = f"background:rgba({colour}, {0.75 * abs(s):.2f});border-radius:3px;padding:.1em .15em"
        parts.append(f'<span style="{style}" title="{value:+.3g}">{escape_html(token)}</span>')
    return f'<p style="font:400 .9em/2 ui-monospace,monospace;margin:.4em 0">{" ".join(parts)}</p>'


def overlay(attribution: Attribution, images: Any, example: int = 0, *, alpha: float = 0.85) -> np.ndarray:
    """The image of one example in grey under its map, RGB [y, x, 3] from 0 to 255: blue for the answer, orange against it.

    Parameters
    ----------
    attribution : Attribution
        With places (y, x); a coarse map is stretched cell by cell.
    images : Tensor[n, channels, y, x]
        What was explained, e.g. ``task.clean``.
    example : int, default 0
    alpha : float, default 0.85
        How far the largest value covers the image.

    Raises
    ------
    UsageError, ShapeError
        No such example, alpha outside 0..1; maps or images without (y, x).
    """
    _exists(attribution, example)
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha must be from 0 to 1, got {alpha!r}.")
    over = highlight_values(attribution, example)
    if over.ndim != 2 or attribution.axes[-1] != "x":
        raise ShapeError(f"{attribution.method} has axes {attribution.axes}: an overlay needs (y, x).")
    image = np.asarray(images[example].detach().cpu() if isinstance(images, Tensor) else images[example], dtype=float)
    if image.ndim != 3 or len(images) != len(attribution):
        raise ShapeError(f"images must be [{len(attribution)}, channels, y, x], got {[len(images), *image.shape]}.")
    grey = image.mean(0)
    grey = (grey - grey.min()) / max(float(np.ptp(grey)), 1e-12) * 155 + 80
    y, x = (np.arange(n) * m // n for n, m in zip(grey.shape, over.shape))
    over = over[y][:, x][..., None]
    share = alpha * np.abs(over)
    colour = np.where(over > 0, np.array(FOR, float), np.array(AGAINST, float))
    return (grey[..., None] * (1 - share) + colour * share).round().astype(np.uint8)


def figure(attribution: Attribution, example: int = 0) -> Any:
    """See `Attribution.plot`.

    Raises
    ------
    UsageError
        No such example, or more than two axes of places.
    MissingExtra
        When plotly is not installed.
    """
    _exists(attribution, example)
    try:
        import plotly.graph_objects as go
    except ImportError as error:
        raise MissingExtra.of("plotly", "plot") from error
    raw = attribution.by_position()[example].double().numpy()
    if raw.ndim > 2:
        raise UsageError(f"{attribution.method} has axes {attribution.axes}; a figure needs one or two axes of places.")
    title = escape_html(f"{attribution.method} at {attribution.site}, example {example}")
    if raw.ndim == 2:
        most = float(np.abs(raw).max()) or 1.0
        fig = go.Figure(go.Heatmap(z=raw, zmin=-most, zmax=most, zmid=0, colorscale="RdBu"))
        fig.update_yaxes(autorange="reversed", scaleanchor="x")
    else:
        fig = go.Figure(_bars(attribution, example, raw, go))
    fig.update_layout(title_text=title, template="simple_white")
    return fig


def _bars(attribution: Attribution, example: int, raw: np.ndarray, go: Any) -> Any:
    real = np.ones(len(raw), dtype=bool) if attribution.mask is None else attribution.mask[example].numpy()
    named = attribution.tokens[example] if attribution.tokens is not None else []
    names = [f"{i} {escape_html(t)}" for i, t in enumerate(named)] or [str(i) for i in np.flatnonzero(real)]
    bars = None
    if attribution.low is not None and attribution.high is not None and attribution.values.ndim == 2:
        low, high = (v[example].double().numpy()[real] for v in (attribution.low, attribution.high))
        bars = {"type": "data", "symmetric": False, "array": high - raw[real], "arrayminus": raw[real] - low}
    colours = [f"rgb{FOR if v > 0 else AGAINST}" for v in raw[real]]
    return go.Bar(x=names, y=raw[real], marker_color=colours, error_y=bars)


def page(attribution: Attribution) -> str:
    """What a notebook shows: the summary, and the first examples as highlighted tokens where there are tokens."""
    head = f"<p><code>{escape_html(repr(attribution))}</code></p>"
    if attribution.tokens is None:
        return head
    return head + "".join(highlight(attribution, i) for i in range(min(SHOWN, len(attribution))))


def _exists(attribution: Attribution, example: int) -> None:
    if not 0 <= example < len(attribution):
        raise UsageError(f"there is no example {example}; the attribution has {len(attribution)}.")

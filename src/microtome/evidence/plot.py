"""A finding as a plotly figure."""

from html import escape
from typing import TYPE_CHECKING, Any

from microtome.errors import MissingExtra
from microtome.evidence.render import plain

if TYPE_CHECKING:
    from microtome.evidence.finding import Finding


def figure(finding: "Finding") -> Any:
    """One row per null: a histogram of its draws with the observed value; the estimate's interval on a row of its own.

    Parameters
    ----------
    finding : Finding
        What to show.

    Returns
    -------
    plotly.graph_objects.Figure
        Texts are escaped, because plotly reads a subset of HTML in titles.

    Raises
    ------
    MissingExtra
        When plotly is not installed.

    Examples
    --------
    >>> from microtome.evidence import Finding, Null
    >>> len(figure(Finding("A claim.", nulls=[Null("labels shuffled", [0.1, 0.2], 0.5)])).data)
    2
    """
    try:
        import plotly.graph_objects as go
        from plotly.subplots import make_subplots
    except ImportError as error:
        raise MissingExtra.of("plotly", "plot") from error

    titles = [_text(f"{null.kind}: p = {null.p:.3g}") for null in finding.nulls]
    titles += ["estimate"] if finding.estimate is not None else []
    fig = make_subplots(rows=max(1, len(titles)), cols=1, subplot_titles=titles or None)
    for row, null in enumerate(finding.nulls, start=1):
        fig.add_trace(go.Histogram(x=null.statistics, marker_color="#afb8c1", name=_text(null.kind)), row=row, col=1)
        fig.add_trace(
            go.Scatter(x=[null.observed], y=[0], mode="markers", name="observed",
                       marker={"color": "#cf222e", "symbol": "diamond", "size": 12}),
            row=row, col=1,
        )
    if finding.estimate is not None:
        fig.add_trace(_interval(finding.estimate, go), row=len(titles), col=1)
        fig.update_xaxes(title_text=_text(finding.estimate.unit), row=len(titles), col=1)
    fig.update_layout(title_text=_text(f"{finding.claim} ({finding.verdict})"), showlegend=False, template="simple_white")
    return fig


def _interval(estimate: Any, go: Any) -> Any:
    error = None
    if estimate.low is not None:
        error = {"type": "data", "symmetric": False, "array": [max(0.0, estimate.high - estimate.value)],
                 "arrayminus": [max(0.0, estimate.value - estimate.low)]}
    return go.Scatter(x=[estimate.value], y=[0], mode="markers", error_x=error, name=_text(str(estimate)))


def _text(text: str) -> str:
    return escape(plain(text))

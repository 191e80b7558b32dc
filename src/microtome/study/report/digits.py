"""Numbers as a reader wants them: three significant digits, a true minus sign, and words where nothing was measured."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from microtome.evidence import Estimate, Null

NOT_MEASURED = "not measured"
MINUS = "\u2212"
FIGURE_SPACE, POINT_SPACE = "\u2007", "\u2008"  # as wide as a digit and as a point: they align columns of numbers
SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def measured(value: Any) -> bool:
    """Whether the value is a number, infinity included; None, NaN, truth values and text are not."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        return False
    return not math.isnan(value)


def finite(value: Any) -> bool:
    """Whether the value can be drawn."""
    return measured(value) and math.isfinite(value)


def number(value: Any) -> str:
    """Three significant digits; whole numbers exactly.

    >>> number(0.91234), number(-0.5), number(2048), number(float("nan"))
    ('0.912', '−0.5', '2048', 'not measured')
    """
    if not measured(value):
        return NOT_MEASURED
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, int):
        return str(value).replace("-", MINUS)
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    if value == int(value) and abs(value) < 1e6:
        return str(int(value)).replace("-", MINUS)
    mantissa, exponent = f"{value:.2e}".split("e")
    if -4 <= int(exponent) < 6:
        text = f"{float(f'{value:.2e}'):.{max(0, 2 - int(exponent))}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return text.replace("-", MINUS)
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa} × 10{str(int(exponent)).translate(SUPERSCRIPT)}".replace("-", MINUS)


def cell(value: Any) -> str:
    """A value of a table: numbers as `number`, truth as yes and no, text as it is."""
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if value is None or isinstance(value, (int, float, np.integer, np.floating)):
        return number(value)
    return str(value)


def aligned(values: Sequence[Any]) -> list[str]:
    """Numbers as a column: zeros up to three digits, then spaces as wide as digits, so that point stands under point.

    >>> [text.rstrip(FIGURE_SPACE) for text in aligned([0.125, 12.5, 3])]
    ['0.125', '12.5', '3.00']
    """
    texts = [number(v) for v in values]
    plain = [finite(v) and "×" not in text for v, text in zip(values, texts)]
    most = max((len(text.partition(".")[2]) for text, ok in zip(texts, plain) if ok), default=0)
    return [_padded(text, most) if ok and most else text for text, ok in zip(texts, plain)]


def _padded(text: str, decimals: int) -> str:
    whole, _, part = text.partition(".")
    digits = len(whole.lstrip(f"{MINUS}0")) + len(part if whole.strip(f"{MINUS}0") else part.lstrip("0"))
    part += "0" * min(max(0, 3 - max(digits, 1)), decimals - len(part))
    blank = FIGURE_SPACE * (decimals - len(part))
    return f"{whole}.{part}{blank}" if part else whole + POINT_SPACE + blank


def p_value(p: float) -> str:
    """As in a paper.

    >>> p_value(0.005), p_value(0.0004)
    ('p = 0.005', 'p < 0.001')
    """
    return "p < 0.001" if p < 0.001 else f"p = {number(p)}"


def with_unit(value: Any, unit: str) -> str:
    """The number followed by its unit, when it has both."""
    return f"{number(value)} {unit}" if unit and measured(value) else number(value)


def interval(low: Any, high: Any) -> str:
    """Both ends in brackets, or nothing.

    >>> interval(-0.1, 0.25)
    '[−0.1, 0.25]'
    """
    return f"[{number(low)}, {number(high)}]" if measured(low) and measured(high) else ""


def estimate(found: Estimate) -> str:
    """Value, unit and interval on one line."""
    return f"{with_unit(found.value, found.unit)} {interval(found.low, found.high)}".strip()


def chance(null: Null) -> tuple[str, str]:
    """Mean of the null's draws, and the range of the middle 95% of them; one draw has no range."""
    if null.draws == 1:
        return number(float(null.statistics[0])), "one draw"
    low, high = np.quantile(null.statistics, [0.025, 0.975])
    return number(float(null.statistics.mean())), f"{number(float(low))} to {number(float(high))}"


def shorten(text: str, most: int) -> str:
    """The text with its middle left out when it is longer than `most` characters; a label's ends tell most.

    >>> shorten("blocks.10.mlp.hidden", 12)
    'blocks…idden'
    """
    if len(text) <= most:
        return text
    head = most // 2
    return f"{text[:head]}…{text[head + 1 - most :]}"

"""Text of models, datasets and files, made safe for the place where it is shown."""

import html
import unicodedata
from typing import Any

from microtome.io.jsonfile import dump_json

# Joiners are needed to write Persian, Indic scripts and emoji, and move nothing.
_HARMLESS = {"\n", "\t", "\u200c", "\u200d", "\u00ad"}


class _Visible(dict):
    """A translation table that writes every invisible or text-moving character as its number."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        hidden = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _HARMLESS
        return f"[U+{code:04X}]" if hidden else character


def visible(text: str) -> str:
    """Write controls, bidirectional marks, half surrogates and other invisible characters as ``[U+....]``.

    Line end, tab, joiners and the soft hyphen stay.

    >>> visible("a\\x1b[31mb\\u202ec")
    'a[U+001B][31mb[U+202E]c'
    """
    return text if text.isprintable() else text.translate(_Visible())


def escape_html(text: object) -> str:
    """Text as HTML, safe in an element and in a quoted attribute; controls and direction marks are shown as numbers.

    >>> escape_html('<b a="1">')
    '&lt;b a=&quot;1&quot;&gt;'
    """
    return html.escape(visible(str(text)), quote=True).replace("`", "&#x60;")


def escape_csv(cell: object) -> object:
    """A cell that no spreadsheet takes for a formula: text starting with = + - @, tab or return gets a leading quote.

    Wide forms of these characters and blanks before them are seen through. Numbers pass unchanged; commas and quotes are
    the csv writer's work.

    >>> escape_csv("=1+1"), escape_csv(-3), escape_csv("plain")
    ("'=1+1", -3, 'plain')
    """
    if not isinstance(cell, str):
        return cell
    start = cell.lstrip(" \u00a0\u3000\ufeff\n\v\f\0")[:1]
    return f"'{cell}" if start and start in "=+-@\t\r＝＋－﹣−＠|" else cell


def escape_terminal(text: object) -> str:
    """Text for a terminal: no escape sequence, carriage return or bidirectional mark reaches it; line ends do."""
    return visible(str(text))


def script_json(obj: Any) -> str:
    """JSON for a ``<script type="application/json">`` block: no character in it can end the block.

    >>> script_json({"a": "</script>"})
    '{"a":"\\\\u003c/script\\\\u003e"}'
    """
    text = dump_json(obj).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text

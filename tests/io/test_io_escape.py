# ruff: noqa: E501  (tables of payloads)
"""Promise 5: no text of a model or a dataset becomes markup, a formula, a terminal command or the end of a script."""

import csv
import io
import json
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome.errors import UsageError
from microtome.io import escape_csv, escape_html, escape_terminal, script_json

TAGS = ["script", "img", "svg", "iframe", "a", "style", "math", "object", "body", "template", "textarea", "title"]
HTML = (
    [f"<{tag}>alert(1)</{tag}>" for tag in TAGS]
    + [f"<{tag} onload=alert(1) onerror=alert(1) src=x>" for tag in TAGS]
    + [f"</{tag}><{tag}>" for tag in TAGS]
    + [f"<{tag}/onclick='x'" for tag in TAGS]
    + [f"</p></div></td></script></style></title></textarea><{tag} id=x>" for tag in TAGS]
    + [f"{quote}><{tag} x={quote}" for tag in TAGS[:6] for quote in ("'", '"', "`")]
    + [f"{quote} onmouseover={quote}alert(1)" for quote in ("'", '"', "`", "")]
    + [f"{quote} style={quote}x:expression(1)" for quote in ("'", '"', "`")]
    + [
        "<!-- x", "-->", "--!>", "<![CDATA[", "]]>", "<?php x ?>", "<!DOCTYPE x>", "<", ">", "&", "&lt;script&gt;", "&#60;b&#62;",
        "&#x3c;b&#x3e;", "&amp;lt;", "&notanentity;", "<b", "<b ", "</", "<//b>", "< b>", "<\0b>", "<b\0>", "<scr\0ipt>", "\x1b]8;;x\x07y",
        "javascript:alert(1)", "data:text/html,<b>", "{{7*7}}", "{% x %}", "${x}", "<%= x %>", "[[x]]", "\u2028<b>", "＜b＞", "﹤b﹥",
        "\u202e<b>", "\ufeff<b>", "<b\u00a0x=1>", "\ud800<b>", "<svg><style><img src=x>", "<a href=x>", "'\"`<>&", "aaa\nbbb", "a\tb",
        "<b>" * 100, '"' * 50, "</script", "<!--<script>", "<noscript><p title='</noscript><b>'>", "<x:y>", "<B>", "<SCRIPT>x", "=1+1",
        "<math><mi//xlink:href=x>", "<form action=x><input>", "<base href=//x>", "<link rel=x>", "<meta http-equiv=refresh>",
        "<img srcset=x>", "<video poster=x>", "<details open ontoggle=x>", "<marquee>", "<plaintext>", "<xmp>", "<frameset>", "\\x3cb\\x3e",
        "\\u003cb\\u003e", "%3Cb%3E", "<b/>", "<b>aaa</b>", "&quot; onx=1", "&#34; onx=1", "\r\n<b>", "\x0c<b>", "\x08<b>", "<\x0bb>",
    ]
)  # fmt: skip

TEMPLATE = (
    '<div class="t"><p title="{0}" data-x=\'{0}\'>{0}</p><td>{0}</td><svg><text aria-label="{0}">{0}</text></svg></div>'
)


class _Tree(HTMLParser):
    """The structure: elements, attribute names, and the values, with text put aside."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.shape, self.values, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.shape.append(("start", tag, [name for name, _ in attrs]))
        self.values += [value for name, value in attrs if name in ("title", "data-x", "aria-label")]

    def handle_endtag(self, tag):
        self.shape.append(("end", tag))

    def handle_comment(self, data):
        self.shape.append(("comment", data))

    def handle_decl(self, decl):
        self.shape.append(("declaration", decl))

    def handle_pi(self, data):
        self.shape.append(("instruction", data))

    def unknown_decl(self, data):
        self.shape.append(("unknown", data))

    def handle_data(self, data):
        self.text += data


def _parsed(text: str) -> _Tree:
    tree = _Tree()
    tree.feed(TEMPLATE.format(escape_html(text)))
    tree.close()
    return tree


def test_there_are_enough_payloads():
    assert len(set(HTML)) >= 150


@pytest.mark.parametrize("start", range(0, len(HTML), 25))
def test_html_keeps_the_template(start):
    plain = _parsed("aaa")
    for payload in HTML[start : start + 25]:
        tree = _parsed(payload)
        assert tree.shape == plain.shape, payload
        assert len(set(tree.values)) == 1
        assert tree.values[0] == escape_terminal(payload)  # what is shown is the text, controls written out
        assert "<" not in escape_html(payload)


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=60))
def test_html_keeps_the_template_for_any_text(text):
    tree = _parsed(text)
    assert tree.shape == _parsed("aaa").shape
    assert tree.values[0] == escape_terminal(text)


TERMINAL = [
    "\x1b[31m", "\x1b[2J", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\y\x1b]8;;\x1b\\", "\x1b]52;c;eA==\x07", "\x1bP", "\x1b_", "\x1b^",
    "\x9b31m", "\x9d0;x\x9c", "\x90", "\x98", "\x84", "\x07", "\x08", "\x7f", "\r", "\x0b", "\x0c", "\x0e", "\x0f", "\x00", "\x05", "\x11",
    "\x1a", "\x1c", "\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069", "\u200e", "\u200f", "\u061c",
    "\ufeff", "\u200b", "\u2060", "\u2028", "\u2029", "\U000e0041", "\ud83d", "\x85", "\u206f", "\ufff9",
]  # fmt: skip


def test_terminal_escapes_and_direction_marks():
    assert len(set(TERMINAL)) >= 40
    for payload in TERMINAL:
        for escape in (escape_terminal, escape_html):
            shown = escape(f"a{payload}b")
            assert all(character.isprintable() for character in shown), ascii(payload)
            assert shown.startswith("a")
            assert shown.endswith("b")
            shown.encode()


def test_ordinary_text_is_unchanged():
    for text in ("plain", "two\nlines\tand tab", "héllo 日本語 עברית العربية", "👩‍👩‍👧 ☂️", "می‌خواهم", "a − b × c"):
        assert escape_terminal(text) == text
        assert escape_html(text) == text


FORMULAS = ["=1+1", "+1", "-1+2", "@SUM(A1)", "\t=1", "\r=1", "=cmd|' /C calc'!A0", " =1", "\n=1", "＝1", "＋1", "－1", "＠x", "\u00a0=1", "\ufeff=1", "-"]  # fmt: skip


@pytest.mark.parametrize("payload", FORMULAS)
def test_csv_cells_are_text(payload):
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerow([escape_csv(payload), "x"])
    row = next(csv.reader(io.StringIO(buffer.getvalue(), newline="")))
    assert row == ["'" + payload, "x"]


def test_csv_leaves_the_rest():
    for value in ("", "a=1", "word", "3.5", -3, 2.5, None, "a-b"):
        assert escape_csv(value) == value


@pytest.mark.parametrize("start", range(0, len(HTML), 25))
def test_script_json_cannot_end_its_script(start):
    for payload in HTML[start : start + 25]:
        if "\ud800" in payload:
            with pytest.raises(UsageError):
                script_json({"a": payload})
            continue
        text = script_json({payload: [payload]})
        assert not set(text) & set("<>&\u2028\u2029")
        assert json.loads(text) == {payload: [payload]}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=60)
@given(VALUES)
def test_script_json_holds_any_value(value):
    assert json.loads(script_json(value)) == value

"""Promise 5 in the report: no text of a model or a dataset makes an element, an attribute or a link, or moves text."""

import importlib.util
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_sample import sample

from microtome.io import visible
from microtome.study.report import render
from microtome.study.report.charts import svg

FILE = Path(__file__).resolve().parent.parent / "io" / "test_io_escape.py"
# Where a value steers the page, it must not come from the data; elsewhere it is text.
STEERING = {"href", "src", "style", "id", "http-equiv", "content", "d", "points"}


def _payloads():
    spec = importlib.util.spec_from_file_location("payloads_of_io", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(dict.fromkeys(module.HTML)), list(dict.fromkeys(module.TERMINAL))


HTML, TERMINAL = _payloads()


class _Tree(HTMLParser):
    """What a browser would build: elements, attribute names, steering values; text and told values put aside."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.shape, self.told, self.classes = [], [], set()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        self.shape.append((tag, names, [value for name, value in attrs if name in STEERING]))
        self.told += [value for name, value in attrs if name in ("title", "aria-label")]
        self.classes |= {c for name, value in attrs if name == "class" for c in value.split()}

    def handle_endtag(self, tag):
        self.shape.append(("/", tag))

    def handle_comment(self, data):
        self.shape.append(("comment", data))

    def handle_decl(self, decl):
        self.shape.append(("declaration", decl))

    def handle_pi(self, data):
        self.shape.append(("instruction", data))

    def unknown_decl(self, data):
        self.shape.append(("unknown", data))

    def handle_data(self, data):
        self.told.append(data)


def _tree(word):
    return _Tree(render(*sample(word)))


@pytest.fixture(scope="module")
def plain():
    return _tree("aaa")


def test_there_are_enough_payloads():
    assert len(HTML) >= 150
    assert len(TERMINAL) >= 40


@pytest.mark.parametrize("start", range(0, len(HTML), 25))
def test_no_payload_changes_the_page(plain, start):
    for payload in HTML[start : start + 25]:
        tree = _tree(payload)
        assert tree.shape == plain.shape, ascii(payload)
        assert tree.classes <= plain.classes | {"w", "upright", "desk", "end", "sp", "ws", "apart"}, ascii(payload)
        assert any(visible(payload).strip() in text for text in tree.told), ascii(payload)  # shown, not dropped


def test_no_control_and_no_direction_mark_reaches_the_page():
    for payload in TERMINAL:
        page = render(*sample(f"a{payload}b"))
        found = {c for c in page if not c.isprintable() and c != "\n"}
        assert not found, ascii(payload)


@settings(deadline=None, max_examples=25)
@given(word=st.text(min_size=1, max_size=40).filter(lambda t: t.strip()))
def test_any_text(plain, word):
    assert _tree(word).shape == plain.shape


def test_the_check_sees_a_hole(plain, monkeypatch):
    monkeypatch.setattr(svg, "escape_html", str)
    assert _tree("<b x=1>").shape != plain.shape


def test_every_link_stays_on_the_page(plain):
    for tag, names, _ in (entry for entry in plain.shape if len(entry) == 3):
        assert tag not in {"script", "iframe", "object", "embed", "link", "base", "form", "input", "audio", "video"}
        assert not any(name.startswith("on") for name in names)

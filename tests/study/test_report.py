"""The page: what it opens with, that it stands alone, that drawings say the numbers, and that gaps are told as gaps."""

import base64
import hashlib
import html
import json
import math
import re
import struct
import xml.etree.ElementTree as ElementTree
import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from report_sample import blocks, finding, sample

from microtome.errors import ShapeError, UsageError
from microtome.evidence import Estimate, Finding, Null
from microtome.study.blocks import BLOCKS, Bars, Graph, Heatmap, Images, Lines, Section, Table, Tokens, Units
from microtome.study.report import render
from microtome.study.report.charts.bars import bar_rows
from microtome.study.report.charts.heatmap import grid
from microtome.study.report.charts.histogram import histogram
from microtome.study.report.charts.lines import plot
from microtome.study.report.charts.png import overlaid, pixels, png
from microtome.study.report.charts.svg import Scale, ticks
from microtome.study.report.digits import FIGURE_SPACE, POINT_SPACE, aligned, number, p_value, shorten
from microtome.study.report.pieces import cells, frame_cells, token_lines

NAN, INF = float("nan"), float("inf")
SVG = re.compile(r"<svg.*?</svg>", re.S)


def _page(*parts, findings=()):
    return render("T", "S", [Section("k", "Part", "Lead.", list(findings), list(parts))], {"seed": "0"})


def _text(page):
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.split("</style>")[1])).split())


# The page as a whole


def test_it_opens_with_the_findings_and_ends_with_the_facts():
    good = Finding("Claim A.", Estimate(0.91234, 0.8, 0.95, unit="nats"), (Null("labels shuffled", [0.5] * 199, 0.91234),))
    page = _text(_page(findings=[good, Finding("Claim B.")]))
    head = page[page.index("What was found, and how sure") :]
    assert "1 supported, 1 undetermined." in head
    row = head[head.index("Claim A.") :]
    assert row.index("0.912 nats [0.8, 0.95]") < row.index("0.5 (0.5 to 0.5) p = 0.005") < row.index("Claim B.")
    assert "no null was run" in row
    assert page.index("How this was made", 200) > page.rindex("Claim B.")
    assert page.rindex("seed 0") > page.rindex("Claim B.")


def test_sections_come_in_order_lead_then_blocks_then_findings():
    page = _page(Table("The table", ["a"], [[1]]), findings=[Finding("The claim.")])
    assert page.index('id="found"') < page.index('id="section-1"') < page.index('id="made"')
    part = page[page.index('id="section-1"') :]
    assert part.index("Lead.") < part.index("The table") < part.index('id="finding-1-1"')
    assert '<a class="claim" href="#finding-1-1">' in page


def test_it_stands_alone():
    page = render(*sample("aaa"))
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in page
    assert page.index("Content-Security-Policy") < page.index("<title>") < page.index("<style>")
    assert not re.findall(r"<script|<link|@import|https?:|url\(|//\w", page)
    assert all(source.startswith("data:image/png;base64,") for source in re.findall(r'src="([^"]*)"', page))
    assert all(target.startswith("#") for target in re.findall(r'href="([^"]*)"', page))
    anchors = set(re.findall(r' id="([^"]*)"', page))
    assert {target[1:] for target in re.findall(r'href="([^"]*)"', page)} <= anchors
    assert len(anchors) == len(re.findall(r' id="', page))


def test_the_sample_holds_every_block_that_needs_no_script():
    assert {type(b) for b in blocks("a")} == set(BLOCKS.values()) - {Graph}


@pytest.mark.parametrize("word", ["</script><script>alert(1)</script>", "<!--<script>", "' onload='alert(1)"])
def test_a_graph_brings_its_own_script_and_the_page_allows_no_other(word):
    node = {"k": "token", "l": -1, "p": 0, "n": word, "b": word, "v": 1.0, "i": 1.0, "r": 0.0, "e": False, "u": ""}
    facts = {"tokens": [word], "nodes": [node], "layers": 0, "edges": {"s": [], "t": [], "w": [], "p": []}, "left": 0}
    block = Graph(word, facts, word)
    page = _page(block, Graph("another", facts))
    scripts = re.findall(r"<script(?: type=\"application/json\" id=\"mtg-\w+-data\")?>(.*?)</script>", page, re.S)
    assert len(scripts) == page.count("<script") == 4  # the data and the drawing, twice
    assert json.loads(scripts[0]) == facts
    assert scripts[1] == scripts[3]
    wanted = base64.b64encode(hashlib.sha256(scripts[1].encode()).digest()).decode()
    assert f"img-src data:; script-src 'sha256-{wanted}'\">" in page
    section = Section("k", "Part", "Lead.", [], [block])
    again = Section.from_dict(json.loads(json.dumps(section.to_dict())))
    assert render("T", "S", [again], {}) == render("T", "S", [section], {})


def test_same_arguments_same_bytes_and_a_stored_section_gives_the_same_page():
    title, subtitle, sections, facts = sample("aaa")
    finite = [b for b in sections[0].blocks if "NaN" not in json.dumps(vars(b))]
    section = Section("k", "t", "l", sections[0].findings, finite, 1.0)
    again = Section.from_dict(json.loads(json.dumps(section.to_dict(), allow_nan=False)))
    assert render(title, subtitle, [section], facts) == render(title, subtitle, [again], facts)
    assert render(*sample("aaa")) == render(*sample("aaa"))


def test_an_empty_study_says_so():
    page = _text(render("T", "S", [], {}))
    assert "No finding was made." in page
    assert "How this was made" in page


def test_empty_blocks_are_drawn():
    empty = [Table("t", [], []), Table("t", ["a"], []), Bars("b", [], []), Heatmap("h", [], [], []), Lines("l", [], {}),
             Lines("l", ["a"], {}), Tokens("k", [], []), Tokens("k", [[]], [[]]), Images("i", []), Units("u", [])]  # fmt: skip
    assert _page(*empty).count("<figure") == len(empty)


def test_no_number_is_ever_nan():
    page = render(*sample("aaa"))
    assert "not measured" in page
    assert not re.search(r"\bnan\b|\binf\b|\bNone\b", page)


def test_drawings_are_well_formed_and_told():
    found = SVG.findall(render(*sample("a<&'\"b")))
    assert len(found) == 13  # 3 bars, a heatmap, lines and a map with 2 keys each, columns, a histogram, a density
    for drawing in found:
        root = ElementTree.fromstring(drawing)
        assert root.get("viewBox")
        assert root.get("aria-hidden") == "true" or (root.get("role") == "img" and root.get("aria-label"))
        for part in root.iter():
            for key in ("x", "y", "width", "height"):
                assert part.get(key) is None or math.isfinite(float(part.get(key)))
            assert float(part.get("width", 0)) >= 0


def test_wrong_arguments_are_named():
    with pytest.raises(UsageError, match="Section"):
        render("T", "S", ["part"], {})  # type: ignore[list-item]


@pytest.mark.parametrize("block", [
    Table("x", ["a", "b"], [[1, 2], [1]]), Bars("x", ["a"], [1, 2]), Bars("x", ["a"], [1.0], low=[1.0, 2.0], high=[1.0]),
    Bars("x", ["a"], [1.0], null=[1.0, 2.0]), Heatmap("x", ["a"], ["b"], [[1.0, 2.0]]), Heatmap("x", ["a"], ["b"], []),
    Lines("x", ["a"], {"s": [1.0, 2.0]}), Lines("x", ["a"], {"s": [1.0]}, {"s": [[1.0]]}), Tokens("x", [["a"]], [[1.0, 2.0]]),
    Images("x", [[[1, 2], [3, 4]]]), Images("x", [np.zeros((2, 2, 3))], overlays=[np.zeros((2, 2))] * 2),
    Images("x", [np.zeros((2, 2, 3))], overlays=[np.zeros(2)]),
])  # fmt: skip
def test_blocks_that_do_not_fit_together_are_refused(block):
    with pytest.raises(ShapeError):
        _page(block)


# Findings


def test_a_finding_shows_all_it_holds():
    page = _text(_page(findings=[finding("aaa")]))
    for told in ("2.5 aaa", "95% interval 2 to 3, n = 12", "observed 2.5", "99 draws", "Every draw is within rounding of 0",
                 "interval 0.25 to 0.75", "aaa 2 1.5", "Table, 2 rows", "seed 3"):  # fmt: skip
        assert told in page, told


@pytest.mark.parametrize(("null", "sealed", "word", "css"), [
    ([0.0] * 99, "", "supported", "yes"), ([2.0] * 99, "", "not supported", "no"), ([2.0] * 99, "h", "refuted", "refuted"),
])  # fmt: skip
def test_verdicts_have_their_badge(null, sealed, word, css):
    page = _page(findings=[Finding("C.", nulls=[Null("n", null, 1.0)], hypothesis=sealed)])
    assert page.count(f'<span class="badge {css}">{word}</span>') == 2


def test_the_summary_shows_the_null_that_decides():
    weak, strong = Null("weak", [0.0] * 199, 1.0), Null("strong", [0.75] * 9, 1.0)
    page = _text(_page(findings=[Finding("C.", Estimate(1.0), (weak, strong))]))
    row = page[page.index("C.") : page.index("Chance: mean")]
    assert "0.75" in row
    assert "p = 0.1" in row


def test_the_histogram_holds_every_draw_and_the_observed_value():
    draws = np.random.default_rng(1).normal(size=200)
    drawn = histogram(Null("n", draws, 4.0))
    root = ElementTree.fromstring(drawn.svg)
    bars = [r for r in root if r.get("class") == "null-bar"]
    heights = np.array([float(r.get("height")) for r in bars])
    counts = heights / heights.min()
    assert abs(counts.sum() * draws.size / np.round(counts).sum() - draws.size) < 2
    slow = np.histogram(draws, bins=40, range=(draws.min(), 4.0))[0]
    assert len(bars) == (slow > 0).sum()
    np.testing.assert_allclose(heights, 70 * slow[slow > 0] / slow.max(), rtol=1e-3)
    assert drawn.at > 98
    assert histogram(Null("n", [1.0] * 5, 1.0)) is None
    few = ElementTree.fromstring(histogram(Null("n", [1.0, 2.0], 3.0)).svg)
    assert sum(p.get("class") == "null-draw" for p in few) == 2


# Charts


def test_bars_are_as_long_as_their_values():
    rows = bar_rows(Bars("b", list("abcd"), [1.0, -0.5, NAN, 0.25], [0.5, -1.0, NAN, 0.25], [1.5, 0.0, NAN, 0.25], 0.1, "nats"))
    roots = [ElementTree.fromstring(row.svg) for row in rows]
    widths = [float(r.find("rect").get("width")) if r.find("rect") is not None else None for r in roots]
    assert widths[2] is None
    assert widths[0] / widths[1] == pytest.approx(2, rel=1e-3)
    assert widths[0] / widths[3] == pytest.approx(4, rel=1e-3)
    assert [row.value for row in rows] == ["1", "−0.5", "not measured", "0.25"]
    assert rows[0].interval == "[0.5, 1.5]"
    assert "chance 0.1" in roots[0].get("aria-label")
    nulls = {next(p.get("d") for p in r if p.get("class") == "null") for r in roots}
    assert len(nulls) == 1  # one line through all rows


def test_heatmap_colours_by_sign_and_strength():
    drawn = grid(Heatmap("h", ["r0", "r1"], ["c0", "c1"], [[1.0, -0.5], [NAN, 0.0]], "nats"))
    found = ElementTree.fromstring(drawn.svg)
    assert [(c.get("class"), c.get("fill-opacity")) for c in found] == [
        ("pos", "1"), ("neg", "0.5"), ("missing", None), (None, None)]  # fmt: skip
    assert [c.find("title").text for c in found] == ["r0,  c0: 1 nats", "r0,  c1: −0.5 nats", "r1,  c0: not measured",
                                                     "r1,  c1: 0 nats"]  # fmt: skip
    assert "Largest 1 nats at r0,  c0. Most negative −0.5 nats at r0,  c1." in drawn.extremes


def test_lines_break_where_nothing_was_measured():
    block = Lines("l", list("abcde"), {"s": [0.0, 1.0, NAN, 2.0, 3.0]}, {"s": [[0, 1], [1, 2], [NAN, 2], [2, 3], [3, 4]]})
    root = ElementTree.fromstring(plot(block).svg)
    curves = [p.get("points").split() for p in root if p.tag == "polyline"]
    assert [len(c) for c in curves] == [2, 2]
    assert sum(p.tag == "polygon" for p in root) == 2
    heights = [float(p.split(",")[1]) for c in curves for p in c]
    assert heights == sorted(heights, reverse=True)  # larger is higher
    both = Lines("l", list("abc"), {"s": [0.0] * 3}, {"s": [[0, 0, 0], [1, 1, 1]]})  # all lows, all highs
    pairs = Lines("l", list("abc"), {"s": [0.0] * 3}, {"s": [[0, 1]] * 3})
    assert plot(both).svg == plot(pairs).svg


@pytest.mark.parametrize("count", [1, 2, 3, 7, 30, 200])
@pytest.mark.parametrize("length", [1, 5, 12, 60])
def test_labels_of_an_axis_never_touch(count, length):
    marks = plot(Lines("l", ["x" * length] * count, {"s": [0.0] * count})).across
    for room, shown in ((117, marks), (43, [m for m in marks if "desk" not in m.css])):
        spans = [(100 - 100 * len(m.text) / room, 100.0) if "end" in m.css
                 else (m.at - 50 * len(m.text) / room, m.at + 50 * len(m.text) / room) for m in shown]  # fmt: skip
        assert shown
        assert all(a[1] <= b[0] for a, b in pairwise(spans)), (room, spans)


@settings(deadline=None)
@given(st.floats(-1e300, 1e300), st.floats(0, 1e300))
def test_ticks_lie_inside_and_are_few(low, span):
    high = low + span
    found = ticks(low, high)
    assert 1 <= len(found) <= 12
    assert found == sorted(found)
    slack = 1e-6 * max(abs(low), abs(high), 1e-300)
    assert low - slack <= found[0] <= found[-1] <= high + slack


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1))
def test_the_scale_stays_on_the_plot(a, b, share):
    low, high = min(a, b), max(a, b)
    scale = Scale(low, high)
    assert 0 <= scale(low + share * (high / 2 - low / 2)) <= 1000
    if high / 2 - low / 2 > 1e-6 * abs(high):
        assert scale(low) == 0
        assert scale(high) == 1000


@settings(deadline=None, max_examples=60)
@given(st.lists(st.one_of(st.none(), st.floats()), min_size=1, max_size=6))
@example([0.0, 1.7e308])
@example([-1.7e308, 1.7e308])
@example([5e-324, 0.0])
@example([INF, -INF, NAN])
def test_any_numbers_can_be_drawn(values):
    names = [str(i) for i in range(len(values))]
    page = _page(Bars("b", names, values, null=values), Heatmap("h", ["r"], names, [values]), Lines("l", names, {"s": values}),
                 Tokens("t", [names], [values]), Table("t", names, [values]))  # fmt: skip
    assert not re.search(r"\bnan\b|\binf\b|\bNone\b", page)


# Numbers, tables, tokens, images


@pytest.mark.parametrize(("value", "text"), [
    (0.12345, "0.123"), (-0.5, "−0.5"), (12.345, "12.3"), (0.0, "0"), (-0.0, "0"), (1.0, "1"), (2048, "2048"), (2048.0, "2048"),
    (0.9996, "1"), (99.96, "100"), (1234.5, "1230"), (1e-7, "1 × 10⁻⁷"), (-2.5e9, "−2.5 × 10⁹"), (0.00012345, "0.000123"),
    (NAN, "not measured"), (None, "not measured"), (INF, "∞"), (-INF, "−∞"), (np.float32(0.25), "0.25"), (np.int64(-3), "−3"),
])  # fmt: skip
def test_numbers(value, text):
    assert number(value) == text


@given(st.floats(min_value=1e-300, max_value=1e300))
def test_a_printed_number_is_within_half_a_third_digit(value):
    text = number(value)
    for sign, digit in zip("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"):
        text = text.replace(sign, digit)
    assert float(text.replace(" × 10", "e")) == pytest.approx(value, rel=5.0001e-3)


@pytest.mark.parametrize(("p", "text"), [(0.005, "p = 0.005"), (0.0009, "p < 0.001"), (0.0502, "p = 0.0502"), (1.0, "p = 1")])
def test_p(p, text):
    assert p_value(p) == text


@given(st.lists(st.one_of(st.floats(-1e4, 1e4), st.integers(-999, 999), st.none()), min_size=1, max_size=8))
def test_points_of_a_column_stand_under_each_other(values):
    texts = aligned(values)
    shown = [t for t, v in zip(texts, values) if v is not None and "×" not in t]
    # Right-aligned: what follows the point is equally long in all, or no number has a point.
    tails = {len(re.split(f"[.{POINT_SPACE}]", t, maxsplit=1)[1]) if re.search(f"[.{POINT_SPACE}]", t) else None for t in shown}
    assert len(tails) <= 1
    for text, value in zip(texts, values):
        if "×" in text or value is None:
            continue
        bare = text.strip(FIGURE_SPACE + POINT_SPACE).replace("−", "-")
        assert float(bare) == float(number(value).replace("−", "-"))


def test_tables_know_numbers_from_text_and_say_what_they_leave_out():
    shown = cells(Table("t", ["a", "b", "c", "d"], [[1.5, "x" * 40, True, None]] + [[NAN, "y", False, None]] * 1200))
    assert shown.css == ["n", "w", "", ""]
    assert shown.rows[0][2] == "yes"
    assert shown.rows[1][0] == "not measured"
    assert len(shown.rows) + shown.left_out == 1201
    assert frame_cells(finding("a").table).rows[1] == ["x", "2", "−0.25", "no"]


def test_white_space_of_tokens_is_visible():
    words = [" the", "a b", "\n", "\t", "  ", " ", "", "x\r\n", " \n"]
    (line,) = token_lines([words], [[1.0, -0.5, 0.0, NAN, 0.01, 2.0, -1.0, 0.5, 0.5]], "t")
    assert [t.text for t in line] == ["the", "a·b", "⏎", "⇥", "··", "·", "∅", "x␍⏎", "·⏎"]
    assert [t.css for t in line] == ["t sp pos", "t neg", "t ws", "t ws", "t ws", "t ws pos", "t neg", "t pos", "t ws pos"]
    assert [t.strength for t in line][:4] == ["1.00", "0.50", "0.00", "0.00"]
    assert line[5].strength == "1.00"


@given(st.text(max_size=80), st.integers(4, 40))
def test_shortened_text_keeps_its_ends(text, most):
    short = shorten(text, most)
    assert len(short) <= most
    assert short == text or (text.startswith(short.split("…")[0]) and len(short) == most)


def _decoded(uri):
    """A PNG reader of its own: eight-bit RGB, unfiltered rows."""
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, body, size = 8, b"", None
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, chunk = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + chunk)
        if kind == b"IHDR":
            size = struct.unpack(">IIBBBBB", chunk)
        body += chunk if kind == b"IDAT" else b""
        at += 12 + length
    wide, high, *rest = size
    assert rest == [8, 2, 0, 0, 0]
    lines = np.frombuffer(zlib.decompress(body), np.uint8).reshape(high, 1 + 3 * wide)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(high, wide, 3)


def test_images_survive():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    np.testing.assert_array_equal(_decoded(png(image)), image)
    np.testing.assert_array_equal(pixels(image.tolist()), image)
    assert pixels(np.full((600, 300, 3), 999.0)).shape == (200, 100, 3)
    assert pixels([[[NAN, -5, 300]]]).tolist() == [[[0, 0, 255]]]


def test_overlays_are_blue_where_positive_and_orange_where_negative():
    shown = overlaid(np.full((4, 6, 3), 100.0), [[1.0, 0.0, -1.0], [0.0, 0.0, NAN]]).astype(int)
    assert shown.shape == (4, 6, 3)
    assert (shown[:2, :2, 2] > shown[:2, :2, 0] + 50).all()
    assert (shown[:2, 4:, 0] > shown[:2, 4:, 2] + 50).all()
    assert np.ptp(shown[2:], axis=2).max() == 0  # grey where nothing was found

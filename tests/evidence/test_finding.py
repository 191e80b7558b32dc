"""Finding, Estimate, Null, Provenance: verdicts, exact JSON, and rendering that never lets data become markup."""

import contextlib
import json
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome.errors import Degenerate, FormatError, MissingExtra, NonFinite, ShapeError, UsageError
from microtome.evidence import Estimate, Finding, Null, Provenance, library_versions

finite = st.floats(allow_nan=False, allow_infinity=False)
anything = st.text(st.characters(exclude_categories=[]), max_size=30)  # control characters and lone surrogates included
sentence = anything.filter(str.strip)
ends = st.tuples(finite, finite).map(sorted)
estimates = st.builds(
    lambda value, interval, level, n, unit, method: Estimate(value, *(interval or (None, None)), level, n, unit, method),
    finite, st.none() | ends, st.floats(0.01, 0.99), st.integers(0, 10**12), anything, anything,
)
sides = st.sampled_from(["greater", "less", "two-sided"])
nulls = st.builds(Null, sentence, st.lists(finite, min_size=1, max_size=8), finite, sides)
provenances = st.builds(
    Provenance, anything, anything, anything, st.integers(0, 2**63), st.dictionaries(anything, anything, max_size=3),
    st.floats(0, 1e9), st.floats(0, 1e18),
)
COLUMNS = {
    "text": anything, "int64": st.integers(-(2**63), 2**63 - 1), "uint8": st.integers(0, 255), "bool": st.booleans(),
    "uint64": st.integers(0, 2**64 - 1), "float64": finite,
    "float32": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "float16": st.floats(width=16, allow_nan=False, allow_infinity=False),
}


@st.composite
def tables(draw):
    rows = draw(st.integers(0, 4))
    names = draw(st.lists(st.text(max_size=30), unique=True, max_size=4))
    columns = {}
    for name in names:
        dtype = draw(st.sampled_from(sorted(COLUMNS)))
        values = draw(st.lists(COLUMNS[dtype], min_size=rows, max_size=rows))
        columns[name] = pd.Series(values, dtype=object if dtype == "text" else dtype)
    return pd.DataFrame(columns, index=pd.RangeIndex(rows))


findings = st.builds(
    Finding, sentence, st.none() | estimates, st.lists(nulls, max_size=3),
    st.dictionaries(anything, finite | estimates, max_size=3), st.none() | tables(), provenances, st.floats(0.001, 0.999),
    st.lists(anything, max_size=3), anything,
)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(findings)
def test_json_round_trip_is_exact(finding):
    text = finding.to_json()
    back = Finding.from_json(text)
    assert back.to_json() == text
    assert back == finding
    assert back.verdict == finding.verdict
    assert list(back.controls) == list(finding.controls)
    if finding.table is not None:
        pd.testing.assert_frame_equal(back.table, finding.table, check_exact=True)
    assert text.isascii()


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen: list[tuple[str, tuple]] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, tuple(name for name, _ in attrs)))


HOSTILE = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\"><svg onload=alert(1)>",
    "' onmouseover='x", "</td></table>",
    "&lt;b&gt;", "<!--", "]]>", "\x1b[2J\x1b]0;title\x07", "‮gnp.exe", "a\r\nb", "\x00", "{{7*7}}", "javascript:alert(1)",
]
TAGS = "div p strong span small br svg rect line ul li table thead tbody tr th td"


def hostile(text: str) -> Finding:
    return Finding(
        f"x{text}", Estimate(1.0, 0.0, 2.0, unit=text, method=text), [Null(f"x{text}", [0.0, 1.0], 0.5)],
        {text: 1.0, "e": Estimate(1, unit=text)}, pd.DataFrame({text: [text], "n": [1.5]}),
        Provenance(text, text, text, versions={text: text}), notes=[text], hypothesis=text,
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_creates_no_element_and_no_control_code(text):
    def tags(finding):
        parser = Tags()
        parser.feed(finding._repr_html_())
        return parser.seen

    assert tags(hostile(text)) == tags(hostile("harmless"))
    assert {tag for tag, _ in tags(hostile(text))} <= set(TAGS.split())
    page, screen = hostile(text)._repr_html_(), str(hostile(text))
    assert not {"script", "http", "src"} & {name for _, attributes in tags(hostile(text)) for name in attributes}
    for shown in (page, screen):
        assert all(c.isprintable() or c == "\n" for c in shown)
    assert len(screen.splitlines()) == len(str(hostile("harmless")).splitlines())


@settings(deadline=None, derandomize=True, max_examples=60)
@given(findings)
def test_any_finding_renders_on_one_screen(finding):
    screen = str(finding)
    assert len(screen.splitlines()) <= 24
    assert max(map(len, screen.splitlines())) <= 220
    assert finding._repr_html_().startswith("<div")


def test_a_large_table_stays_on_one_screen_and_page():
    table = pd.DataFrame(np.zeros((10_000, 30)), columns=[f"c{i}" for i in range(30)])
    nulls = [Null(f"k{i}", [0.0], 1.0) for i in range(9)]
    finding = Finding("Big.", nulls=nulls, table=table, notes=["n"] * 20, controls={str(i): 1.0 for i in range(20)})
    assert len(str(finding).splitlines()) <= 24
    assert "10000 rows" in str(finding)
    assert finding._repr_html_().count("<tr>") == 51


def test_verdicts():
    win, lose = Null("a", np.zeros(99), 1.0), Null("b", np.zeros(99), -1.0)
    assert Finding("c", nulls=[win]).verdict == "supported"
    assert Finding("c", nulls=[win, win]).verdict == "supported"
    assert Finding("c", nulls=[win, lose]).verdict == "not supported"
    assert Finding("c", nulls=[lose], hypothesis="seal").verdict == "refuted"
    assert Finding("c").verdict == "undetermined"
    assert "No null was run" in Finding("c").reason
    assert "b p = 1" in Finding("c", nulls=[win, lose]).reason
    assert "a p" not in Finding("c", nulls=[win, lose]).reason
    assert "cannot give p below" in Finding("c", nulls=[Null("few", [0.0] * 5, 1.0)]).reason
    assert Finding("c", nulls=[win], alpha=0.001).verdict == "not supported"


def test_p_at_alpha_is_supported():
    assert Null("k", np.zeros(19), 1.0).p == 0.05
    assert Finding("c", nulls=[Null("k", np.zeros(19), 1.0)]).verdict == "supported"


def test_a_finding_owns_its_data():
    table, draws = pd.DataFrame({"a": [1]}), np.zeros(3)
    null = Null("k", draws, 1.0)
    finding = Finding("c", nulls=[null], table=table)
    table.loc[0, "a"], draws[0] = 9, 9.0
    assert finding.table.a[0] == 1
    assert null.statistics[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        null.statistics[0] = 5
    with pytest.raises(AttributeError):
        finding.claim = "other"


def test_tables_after_sorting_and_categories_are_plain():
    table = pd.DataFrame({"unit": pd.Categorical(["b", "a"]), "score": [1.0, 2.0]}).sort_values("score", ascending=False)
    stored = Finding("c", table=table).table
    assert stored.index.tolist() == [0, 1]
    assert stored.unit.tolist() == ["a", "b"]
    assert Finding("c", table=pd.DataFrame({"n": pd.Series([1, 2], dtype=object)})).table.n.dtype == np.int64


@pytest.mark.parametrize(("make", "error", "words"), [
    (lambda: Estimate(np.nan), NonFinite, "finite"),
    (lambda: Estimate(1.0, low=0.0), UsageError, "both ends"),
    (lambda: Estimate(1.0, 2.0, 1.0), UsageError, "wrong order"),
    (lambda: Estimate("1"), UsageError, "number"),
    (lambda: Estimate(True), UsageError, "number"),
    (lambda: Estimate(1.0, level=1.0), UsageError, "between 0 and 1"),
    (lambda: Estimate(1.0, n=-1), UsageError, "n must be"),
    (lambda: Null("", [1.0], 1.0), UsageError, "randomised"),
    (lambda: Null("k", [], 1.0), Degenerate, "at least 1"),
    (lambda: Null("k", [np.inf], 1.0), NonFinite, "null 'k'"),
    (lambda: Null("k", [[1.0]], 1.0), ShapeError, "shape"),
    (lambda: Null("k", ["a"], 1.0), UsageError, "numbers"),
    (lambda: Null("k", [1.0], np.nan), NonFinite, "observed"),
    (lambda: Null("k", [1.0], 1.0, "bigger"), UsageError, "two-sided"),
    (lambda: Finding(""), UsageError, "sentence"),
    (lambda: Finding("c", estimate=0.5), UsageError, "bootstrap"),
    (lambda: Finding("c", nulls=[0.5]), UsageError, "Null objects"),
    (lambda: Finding("c", controls={"a": np.nan}), NonFinite, "control 'a'"),
    (lambda: Finding("c", controls=[1.0]), UsageError, "controls"),
    (lambda: Finding("c", alpha=5), UsageError, "alpha"),
    (lambda: Finding("c", provenance={}), UsageError, "Provenance"),
    (lambda: Finding("c", table={"a": [1]}), UsageError, "DataFrame"),
    (lambda: Finding("c", table=pd.DataFrame({"a": [np.nan]})), NonFinite, "'a'"),
    (lambda: Finding("c", table=pd.DataFrame({"a": [np.inf]})), NonFinite, "'a'"),
    (lambda: Finding("c", table=pd.DataFrame({"a": ["x", None]})), NonFinite, "missing"),
    (lambda: Finding("c", table=pd.DataFrame({"a": [1j]})), UsageError, "astype"),
    (lambda: Finding("c", table=pd.DataFrame({"a": [[1]]})), UsageError, "astype"),
    (lambda: Finding("c", table=pd.DataFrame({0: [1]})), UsageError, "distinct texts"),
    (lambda: Finding("c", table=pd.DataFrame([[1]], columns=pd.Index(["\ud800"], dtype=object))), UsageError, "Unicode"),
    (lambda: Finding("c", table=pd.DataFrame([[1, 2]], columns=["a", "a"])), UsageError, "distinct texts"),
    (lambda: Finding("c", table=pd.DataFrame({"a": [1]}, index=["row"])), UsageError, "reset_index"),
    (lambda: Provenance(seed=-1), UsageError, "seed"),
    (lambda: Provenance(seconds=np.nan), NonFinite, "seconds"),
    (lambda: Provenance(forwards=-1.0), UsageError, "forwards"),
    (lambda: Provenance(versions={"a": 1}), UsageError, "versions"),
])
def test_refusals(make, error, words):
    with pytest.raises(error, match=words):
        make()


GOOD = json.loads(hostile("x").to_json())


def altered(**changes) -> str:
    return json.dumps({**GOOD, **changes})


@pytest.mark.parametrize("text", [
    "", "null", "[]", "{}", "{", '{"claim":1}', '{"claim":"a","claim":"b"}', "[" * 100_000,
    altered(extra=1), altered(layout="microtome.finding/9"),
    altered(alpha=None), altered(alpha="0.05"), altered(claim=3), altered(nulls={}), altered(notes="one"), altered(notes=[1]),
    altered(controls={"a": 1}), altered(controls=[["a"]]), altered(controls=[["a", "1"]]), altered(estimate=[]),
    altered(estimate={"value": 1.0, "other": 1}), altered(estimate={}), altered(provenance=None),
    altered(provenance={"seed": 1.5}),
    altered(nulls=[{"kind": "k"}]), altered(nulls=[{"kind": "k", "statistics": ["a"], "observed": 1}]),
    altered(nulls=[{"kind": "k", "statistics": [[1]], "observed": 1}]),
    altered(nulls=[{"kind": "k", "statistics": [1e400], "observed": 1}]),
    altered(table={}), altered(table={"rows": -1, "columns": []}), altered(table={"rows": 10**12, "columns": []}),
    altered(table={"rows": 1, "columns": [{"name": "a", "dtype": "object", "values": [1]}]}),
    altered(table={"rows": 1, "columns": [{"name": "a", "dtype": "int8", "values": [300]}]}),
    altered(table={"rows": 1, "columns": [{"name": "a", "dtype": "uint8", "values": [-1]}]}),
    altered(table={"rows": 1, "columns": [{"name": "a", "dtype": "int64", "values": [1.5]}]}),
    altered(table={"rows": 1, "columns": [{"name": "a", "dtype": "bool", "values": [1]}]}),
    altered(table={"rows": 1, "columns": [{"name": "a", "dtype": "text", "values": [None]}]}),
    altered(table={"rows": 1, "columns": [{"name": "\ud800", "dtype": "text", "values": ["x"]}]}),
    altered(table={"rows": 2, "columns": [{"name": "a", "dtype": "text", "values": ["x"]}]}),
    altered(table={"rows": 1, "columns": [{"name": "a", "dtype": "float32", "values": [1e300]}]}),
    altered(table={"rows": 1, "columns": [{"name": "a", "dtype": "text", "values": ["x"]}] * 2}),
    hostile("x").to_json().replace('"alpha":0.05', '"alpha":NaN'),
    hostile("x").to_json().replace('"observed":0.5', '"observed":Infinity'), "1" * 5000, hostile("x").to_json()[:-20],
])
def test_damaged_json_is_refused(text):
    with pytest.raises(FormatError):
        Finding.from_json(text)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.data())
def test_mutated_json_is_refused_or_a_valid_finding(data):
    text = hostile("x").to_json()
    at = data.draw(st.integers(0, len(text) - 1))
    text = text[:at] + data.draw(st.text(max_size=3)) + text[at + data.draw(st.integers(0, 4)):]
    with contextlib.suppress(FormatError):  # any other error fails the test
        Finding.from_json(text).to_json()


def test_bytes_are_refused():
    with pytest.raises(FormatError):
        Finding.from_json(b"{}")


def test_plot_shows_nulls_and_interval_with_escaped_text():
    fig = hostile("<b>x</b>").plot()
    assert [type(trace).__name__ for trace in fig.data] == ["Histogram", "Scatter", "Scatter"]
    assert fig.data[1].x[0] == 0.5
    assert "<b>" not in fig.to_json()
    assert len(Finding("nothing to draw").plot().data) == 0
    assert Finding("no interval", Estimate(1.0)).plot().data[0].error_x.array is None


def test_plot_without_plotly_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(MissingExtra, match=r"microtome\[plot\]"):
        Finding("c").plot()


def test_null_z_and_percentile():
    null = Null("k", [0.0, 1.0, 2.0, 3.0], 2.0)
    assert null.z == pytest.approx(0.5 / np.std([0, 1, 2, 3], ddof=1))
    assert null.percentile == 62.5
    assert Null("k", [1.0, 1.0], 1.0).z == 0.0
    assert Null("k", [1.0, 1.0], 2.0).z == np.inf
    assert Null("k", [1.0], 0.0).z == -np.inf
    assert null == Null("k", [0.0, 1.0, 2.0, 3.0], 2.0) != Null("k", [0.0], 2.0)


def test_rounding_does_not_break_ties():
    values = [0.1, 0.2, 0.3]
    assert Null("k", [sum(values)] * 9, sum(values[::-1])).p == 1.0
    assert Null("k", [sum(values[::-1])] * 9, sum(values)).p == 1.0


def test_library_versions_imports_nothing():
    before = set(sys.modules)
    assert "numpy" in library_versions()
    assert set(sys.modules) == before

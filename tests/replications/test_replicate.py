"""The runner of replications: what holds, what does not, and what cannot even be asked."""

import textwrap
from pathlib import Path

import pytest

from microtome.errors import FormatError, NonFinite, UsageError
from microtome.ledger import Ledger, ledger_page
from microtome.replicate import Claim, Row, keys, load, replicate
from microtome.replication import source_hash

FILE = """
from microtome.replicate import Claim
CATALOG = ("decompose", 42)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 5
METHODS = ("microtome.rng",)
CLAIMS = [Claim("x is large", measure="x", threshold=1.0, null="y")]
def run(seed):
    return {"x": 2.0 + seed, "y": 0.5, "z": 7.0}
"""


def folder_of(tmp_path: Path, text: str = FILE, key: str = "example") -> Path:
    (tmp_path / "decompose").mkdir(exist_ok=True)
    (tmp_path / "decompose" / f"{key}.py").write_text(textwrap.dedent(text))
    return tmp_path


def test_a_claim_holds_and_is_kept(tmp_path):
    folder = folder_of(tmp_path)
    row = replicate("example", folder=folder)
    (claim,) = row.content["claims"]
    assert row.holds
    assert claim["values"] == [2.0, 3.0, 4.0]
    assert claim["median"] == 3.0
    assert claim["range"] == [2.0, 4.0]
    assert claim["null"]["values"] == [0.5] * 3
    assert row.content["figures"] == {"z": [7.0] * 3}
    assert "x is large" in str(row)
    assert "holds" in str(row)
    ledger = Ledger.read(folder)
    assert ledger.stale("example") == ["never run"]
    assert ledger.status("example") == "not yet"
    ledger.put(row)
    ledger.write()
    again = Ledger.read(folder)
    assert again.rows["example"].to_json() == row.to_json()
    assert again.stale("example") == []
    assert again.all_stale() == {}
    assert again.status("example") == "working"
    first = (folder / "ledger.json").read_bytes()
    again.write()
    assert (folder / "ledger.json").read_bytes() == first


def test_two_runs_at_once_keep_both_rows(tmp_path):
    folder = folder_of(tmp_path)
    folder_of(tmp_path, FILE, "other")
    one, two = Ledger.read(folder), Ledger.read(folder)
    one.put(replicate("example", folder=folder))
    one.write()
    two.put(replicate("other", folder=folder))
    two.write()
    assert set(Ledger.read(folder).rows) == {"example", "other"}


def test_every_seed_must_pass_unless_the_median_is_claimed(tmp_path):
    text = FILE.replace("2.0 + seed", "[0.9, 2.0, 3.0][seed]")
    row = replicate("example", folder=folder_of(tmp_path, text))
    assert not row.holds
    assert row.content["claims"][0]["beyond_null"]
    text = text.replace('null="y"', 'null="y", over="median"')
    assert replicate("example", folder=folder_of(tmp_path, text)).holds


@pytest.mark.parametrize("null", ["1.0", "1.5", "[0, 0, 1.2][seed]"])
def test_a_threshold_that_the_null_passes_shows_nothing(tmp_path, null):
    row = replicate("example", folder=folder_of(tmp_path, FILE.replace('"y": 0.5', f'"y": {null}')))
    assert not row.holds
    assert not row.content["claims"][0]["beyond_null"]
    ledger = Ledger(tmp_path, {"example": row})
    assert ledger.status("example") == "does not hold"
    assert "the null passes too" in ledger_page(ledger)


def test_smaller_can_be_better():
    claim = Claim("error is small", "e", 0.1, "<=", null="n")
    assert claim.holds([0.0, 0.1])
    assert not claim.holds([0.0, 0.11])
    assert claim.beyond_null([0.2])
    assert not claim.beyond_null([0.2, 0.1])


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        ({"direction": ">"}, "direction"),
        ({"over": "mean"}, "over"),
        ({"threshold": float("nan")}, "finite"),
        ({"null": None}, "no null"),
    ],
)
def test_claims_that_mean_nothing_are_refused(arguments, pattern):
    with pytest.raises(UsageError, match=pattern):
        Claim(**{"statement": "s", "measure": "x", "threshold": 1.0, "null": "y"} | arguments)


@pytest.mark.parametrize(
    ("old", "new", "error", "pattern"),
    [
        ("SEEDS = (0, 1, 2)", "SEEDS = (0, 0, 1)", UsageError, "3 seeds"),
        ("BUDGET_SECONDS = 5", "", UsageError, "BUDGET_SECONDS"),
        ("CLAIMS = [", "CLAIMS = [] and [", UsageError, "not empty"),
        ('"y": 0.5', '"w": 0.5', UsageError, "y"),
        ('"y": 0.5', '"y": float("nan")', NonFinite, "seed 0: y"),
        ('"microtome.rng"', '"microtome.no_such"', UsageError, "no_such"),
    ],
)
def test_incomplete_files_are_refused(tmp_path, old, new, error, pattern):
    assert old in FILE
    with pytest.raises(error, match=pattern):
        replicate("example", folder=folder_of(tmp_path, FILE.replace(old, new)))


def test_unknown_keys_name_the_nearest(tmp_path):
    with pytest.raises(UsageError, match="'example'"):
        load("exmaple", folder_of(tmp_path))
    with pytest.raises(UsageError, match="MICROTOME_REPLICATIONS"):
        keys(tmp_path / "nowhere")


def test_a_change_of_the_file_or_of_a_method_is_seen(tmp_path, monkeypatch):
    package = tmp_path / "lab_for_hashes"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "part.py").write_text("a = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    text = FILE.replace('"microtome.rng"', '"lab_for_hashes", "lab_for_hashes.part"')
    (tmp_path / "r").mkdir()
    folder = folder_of(tmp_path / "r", text)
    ledger = Ledger(folder, {"example": replicate("example", folder=folder)})
    assert ledger.stale("example") == []
    (package / "part.py").write_text("a = 2\n")
    assert ledger.stale("example") == ["lab_for_hashes", "lab_for_hashes.part"]
    folder_of(folder, text + "\n# a remark\n")
    assert ledger.stale("example")[0] == "replication"
    assert source_hash("microtome.rng") == source_hash("microtome.rng") != source_hash("microtome.errors")


def test_a_damaged_ledger_is_refused(tmp_path):
    folder_of(tmp_path)
    for text in ("[]", '{"format": 2, "rows": {}}', '{"format": 1}', "{"):
        (tmp_path / "ledger.json").write_text(text)
        with pytest.raises(FormatError):
            Ledger.read(tmp_path)


def test_the_page_escapes_what_it_shows():
    claim = {
        "statement": "a | b <script>", "measure": "x", "direction": ">=", "threshold": 1.0, "over": "every",
        "values": [2.0], "median": 2.0, "range": [2.0, 2.0], "null": {"reason": "none | needed"}, "beyond_null": True,
        "holds": True,
    }  # fmt: skip
    row = Row("key", {"claims": [claim], "holds": True, "seeds": [0, 1, 2], "total_seconds": 1.0})
    page = ledger_page(Ledger(Path(), {"key": row}, ({"key": "key", "room": "read", "title": "T", "name": "T", "id": 1},)))
    line = next(line for line in page.splitlines() if "script" in line)
    assert "<script" not in line
    assert line.replace("\\|", "").count("|") == 9
    assert "1 working, 0 does not hold, 0 not yet" in page

"""Promise 15: every single-byte change of a folder is named."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from microtome import io as mio
from microtome.errors import IntegrityError, StorageError, UnsafeContent, UsageError


@pytest.fixture
def study(tmp_path):
    """A folder as a study would be: tensors, a table, JSON, text, in two levels."""
    manifest = mio.Manifest(tmp_path)
    written = mio.write_tensors(tmp_path / "shards" / "0.safetensors", {"a": torch.arange(50.0)})
    manifest.add("shards/0.safetensors", rows=50, written=written)
    mio.write_table(tmp_path / "index.parquet", pd.DataFrame({"a": range(20)}))
    manifest.add("index.parquet", rows=20)
    mio.write_json(tmp_path / "study.json", {"seed": 0, "name": "x"})
    manifest.add("study.json", facts={"role": "settings"})
    mio.write_text(tmp_path / "notes.txt", "a note")
    manifest.add("notes.txt")
    return tmp_path


def _changes(study, count):
    files = sorted(path for path in study.rglob("*") if path.is_file() and path.suffix != ".lock")
    assert len(files) == 5
    random = np.random.default_rng(0)
    missed = []
    for number in range(count):
        path = files[number % len(files)]
        before = path.read_bytes()
        at = int(random.integers(len(before)))
        data = bytearray(before)
        data[at] ^= int(random.integers(1, 256))
        path.write_bytes(data)
        damages = mio.Manifest(study).verify()
        name = path.relative_to(study).as_posix()
        if not any(damage.file == name and damage.expected != damage.found for damage in damages):
            missed.append((name, at, data[at]))
        path.write_bytes(before)
    assert missed == []
    assert mio.Manifest(study).verify() == []


def test_single_byte_changes(study):
    _changes(study, 60)


@pytest.mark.slow
def test_single_byte_changes_full(study):
    _changes(study, 200)


def test_every_byte_of_the_manifest_is_sealed(study):
    path = study / "manifest.jsonl"
    before = path.read_bytes()
    for at in [*range(0, len(before) - 5, 5), *range(len(before) - 5, len(before))]:
        for value in {before[at] ^ 1, 32} - {before[at]}:
            path.write_bytes(before[:at] + bytes([value]) + before[at + 1 :])
            damages = mio.Manifest(study).verify()
            assert any(damage.file == "manifest.jsonl" for damage in damages), (at, value)
    path.write_bytes(before)


def test_lost_moved_and_added_lines(study):
    path = study / "manifest.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for order in ([1, 0, 2, 3], [0, 2, 3], [1, 2, 3], [0, 0, 1, 2, 3], [3]):
        path.write_bytes(b"".join(lines[i] for i in order))
        assert any(damage.kind == "manifest" for damage in mio.Manifest(study).verify()), order
        with pytest.raises(IntegrityError, match="manifest of"):
            mio.Manifest(study).entries()
        with pytest.raises(IntegrityError, match="manifest of"):
            mio.Manifest(study).add("notes.txt")
    # a lost end cannot be seen in the manifest itself; its file shows
    path.write_bytes(b"".join(lines[:3]))
    assert [(damage.file, damage.kind) for damage in mio.Manifest(study).verify()] == [("notes.txt", "extra")]


def test_each_kind_of_damage(study):
    manifest = mio.Manifest(study)
    assert manifest.verify() == []
    assert manifest.check("notes.txt").read_text() == "a note"
    (study / "extra.txt").write_text("x")
    (study / "notes.txt").write_text("a longer note")
    (study / "index.parquet").unlink()
    found = {damage.file: damage.kind for damage in manifest.verify()}
    assert found == {"extra.txt": "extra", "notes.txt": "size", "index.parquet": "missing"}
    assert "expected 6 bytes, found 13 bytes" in " ".join(map(str, manifest.verify()))
    with pytest.raises(IntegrityError, match=r"notes.txt: size: expected 6 bytes, found 13 bytes"):
        manifest.check("notes.txt")
    with pytest.raises(IntegrityError, match="not in the manifest"):
        manifest.check("extra.txt")


def test_a_link_in_place_of_a_file(study, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "notes.txt"
    outside.write_text("a note")
    (study / "notes.txt").unlink()
    (study / "notes.txt").symlink_to(outside)
    (study / "link").symlink_to(outside.parent)
    found = {damage.file: damage.kind for damage in mio.Manifest(study).verify()}
    assert found == {"notes.txt": "name", "link": "extra"}


def test_a_hostile_manifest_names_no_file_outside(study):
    with pytest.raises(UnsafeContent):
        mio.Manifest(study).add("../x")
    path = study / "manifest.jsonl"
    line = json.loads(path.read_text().splitlines()[0])
    for value in ("../../etc/passwd", "/etc/passwd", 3, None):
        path.write_text(json.dumps({**line, "file": value}) + "\n")
        assert mio.Manifest(study).verify()[0].kind == "manifest"


def test_a_torn_last_line_is_dropped_and_repaired(study):
    path = study / "manifest.jsonl"
    whole = path.read_bytes()
    names = list(mio.Manifest(study).entries())
    lines = whole.splitlines(keepends=True)
    for cut in range(len(b"".join(lines[:3])), len(whole)):
        path.write_bytes(whole[:cut])
        manifest = mio.Manifest(study)
        kept = list(manifest.entries())
        assert kept == (names if cut == len(whole) - 1 else names[:3])
        if cut % 37 == 0:
            manifest.add("notes.txt")
            assert manifest.verify() == []
            assert list(mio.Manifest(study).entries()) == names


def test_entries_hold_what_was_told(study):
    entries = mio.Manifest(study).entries()
    assert entries["shards/0.safetensors"]["rows"] == 50
    assert entries["study.json"]["role"] == "settings"
    assert entries["index.parquet"]["hash"] == mio.hash_file(study / "index.parquet")
    assert "notes.txt" in mio.Manifest(study)
    assert len(mio.Manifest(study)) == 4
    assert mio.Manifest(study / "nowhere").entries() == {}


def test_the_last_line_for_a_name_holds(study):
    mio.write_text(study / "notes.txt", "another")
    assert [damage.kind for damage in mio.Manifest(study).verify()] == ["size"]
    mio.Manifest(study).add("notes.txt", rows=7)
    assert mio.Manifest(study).verify() == []
    assert mio.Manifest(study).entries()["notes.txt"]["rows"] == 7


def test_misuse(study):
    with pytest.raises(UsageError, match="taken"):
        mio.Manifest(study).add("notes.txt", facts={"hash": "x"})
    with pytest.raises((UsageError, StorageError)):
        mio.Manifest(study).add("nothing.txt")


def test_same_history_same_bytes(tmp_path):
    for name in ("one", "two"):
        mio.write_text(tmp_path / name / "a.txt", "a")
        mio.write_text(tmp_path / name / "b.txt", "b")
        manifest = mio.Manifest(tmp_path / name)
        manifest.add("a.txt", rows=1)
        mio.Manifest(tmp_path / name).add("b.txt", facts={"z": 1, "a": [2]})
    assert (tmp_path / "one" / "manifest.jsonl").read_bytes() == (tmp_path / "two" / "manifest.jsonl").read_bytes()

"""Promise 2: a damaged or hostile file gives FormatError, soon and without filling the memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from microtome import io as mio
from microtome.errors import FormatError, StorageError, UsageError

HERE = Path(__file__).parent


def _report(count: int, folder: Path) -> dict:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1] / "src")])}
    done = subprocess.run(
        [sys.executable, str(HERE / "run_mutants.py"), str(count), str(folder)],
        env=env, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def _judge(report: dict) -> None:
    assert report["wrong"] == []
    assert report["refused"] > report["cases"] / 2
    assert report["slowest"] < 2.0  # seconds of this process, not of the clock
    assert report["largest"] < 200 << 20


def test_damaged_and_hostile_files(tmp_path):
    _judge(_report(120, tmp_path))


@pytest.mark.slow
def test_damaged_and_hostile_files_full(tmp_path):
    _judge(_report(500, tmp_path))


READERS = (mio.read_tensors, mio.read_json, mio.read_jsonl, mio.read_npz, mio.read_torch, mio.read_text, mio.hash_file)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
def test_what_is_not_a_file(tmp_path, reader):
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match=r"Did you mean 'model.safetensors'"):
        reader(tmp_path / "modle.safetensors")
    with pytest.raises(UsageError, match="is a folder"):
        reader(tmp_path)
    with pytest.raises(UsageError, match="not a path"):
        reader("a\0b")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match="not an ordinary file"):
        reader(tmp_path / "pipe")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("{}")
    path.chmod(0)
    with pytest.raises(StorageError, match="permissions"):
        mio.read_json(path)


def test_limits_can_be_raised_by_the_caller(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(list(range(200))))
    assert mio.read_json(path) == list(range(200))
    with pytest.raises(FormatError, match="max_bytes"):
        mio.read_json(path, max_bytes=100)


def test_table_of_unknown_kind(tmp_path):
    (tmp_path / "a.xls").write_bytes(b"")
    with pytest.raises(UsageError, match="csv"):
        mio.read_table(tmp_path / "a.xls")

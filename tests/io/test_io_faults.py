"""Promise 14: the n-th write, sync or rename fails, for every n; the old state stays readable and the error is typed."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from io_faults import failing

from microtome import io as mio
from microtome.errors import StorageError
from microtome.io.atomic import TEMPORARY

OLD, NEW = 1, 2


def _tensors(path: Path, value: int) -> None:
    mio.write_tensors(path / "f.safetensors", {"a": torch.full((512, 300), float(value))})


def _json(path: Path, value: int) -> None:
    mio.write_json(path / "f.json", {"a": [value] * 1000})


def _table(path: Path, value: int) -> None:
    mio.write_table(path / "f.parquet", pd.DataFrame({"a": np.random.default_rng(0).random(200_000) + value}))


def _npz(path: Path, value: int) -> None:
    mio.write_npz(path / "f.npz", {"a": np.full(3000, value), "b": np.arange(5)})


def _chunks(path: Path, value: int) -> None:
    with mio.atomic_write(path / "f.txt") as file:
        for _ in range(4):
            file.write(bytes([48 + value]) * (1 << 20))


WRITERS = {
    "tensors": (_tensors, lambda p: float(mio.read_tensors(p / "f.safetensors")["a"].unique().item())),
    "json": (_json, lambda p: mio.read_json(p / "f.json")["a"][0]),
    "table": (_table, lambda p: int(mio.read_table(p / "f.parquet")["a"].iloc[0])),
    "npz": (_npz, lambda p: int(mio.read_npz(p / "f.npz")["a"][0])),
    "chunks": (_chunks, lambda p: int(mio.read_text(p / "f.txt")[0])),
}


@pytest.mark.parametrize("on", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
@pytest.mark.parametrize("kind", WRITERS)
def test_replacing_a_file(tmp_path, monkeypatch, kind, code, on):
    write, read = WRITERS[kind]
    write(tmp_path, OLD)
    names = set(os.listdir(tmp_path))
    hit = set()
    for n in range(1, 200):
        with failing(monkeypatch, n, code, on=on, short=n % 2 == 0) as counter:
            try:
                write(tmp_path, NEW)
                assert not counter.failed
                break
            except StorageError as error:
                assert "is intact" in str(error)  # noqa: PT017
                assert str(tmp_path) in str(error)  # noqa: PT017
        hit.update(counter.failed[:1])
        # after the rename the new file is there as a whole; before it, the old one
        late = counter.calls > 4 and "unlink" not in counter.failed and read(tmp_path) == NEW
        assert read(tmp_path) == NEW if late else read(tmp_path) == OLD
        if late:
            write(tmp_path, OLD)
        if not on:
            assert set(os.listdir(tmp_path)) == names
        mio.sweep_temporaries(tmp_path)
        assert set(os.listdir(tmp_path)) == names
    else:
        pytest.fail("never succeeded")
    assert hit >= {"open", "write", "fsync", "replace", "makedirs"}
    assert read(tmp_path) == NEW


@pytest.mark.parametrize("on", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
def test_appending_to_a_log(tmp_path, monkeypatch, code, on):
    path = tmp_path / "log.jsonl"
    mio.append_jsonl(path, {"n": 0})
    for n in range(1, 50):
        with failing(monkeypatch, n, code, on=on, short=True) as counter:
            try:
                mio.append_jsonl(path, [{"n": 1, "text": "x" * 500}, {"n": 2}])
                break
            except StorageError:
                pass
        rows = path.read_bytes().split(b"\n")
        assert rows[0] == b'{"n":0}'
        if not on:
            assert mio.read_jsonl(path) == [{"n": 0}], counter.failed
    else:
        pytest.fail("never succeeded")
    found = mio.read_jsonl(path)
    assert found[0] == {"n": 0}
    assert [row["n"] for row in found][-2:] == [1, 2]
    if not on:
        assert [row["n"] for row in found] == [0, 1, 2]


@pytest.mark.parametrize("on", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
def test_committing_to_a_manifest(tmp_path, monkeypatch, code, on):
    (tmp_path / "a.bin").write_bytes(b"a" * 100)
    (tmp_path / "b.bin").write_bytes(b"b" * 100)
    mio.Manifest(tmp_path).add("a.bin", rows=1)
    manifest = mio.Manifest(tmp_path)
    for n in range(1, 50):
        with failing(monkeypatch, n, code, on=on, short=True):
            try:
                manifest.add("b.bin", rows=2)
                break
            except StorageError:
                pass
        assert next(iter(manifest.entries())) == "a.bin"
        assert set(manifest.entries()) <= {"a.bin", "b.bin"}
        if not on:
            assert list(manifest.entries()) == ["a.bin"]
    else:
        pytest.fail("never succeeded")
    assert mio.Manifest(tmp_path).entries()["b.bin"]["rows"] == 2
    assert mio.Manifest(tmp_path).verify() == []


def test_an_error_in_the_block_leaves_no_trace(tmp_path):
    mio.write_text(tmp_path / "a.txt", "old")
    with pytest.raises(KeyError), mio.atomic_write(tmp_path / "a.txt") as file:  # noqa: PT012
        file.write(b"x" * (3 << 20))
        raise KeyError
    assert os.listdir(tmp_path) == ["a.txt"]
    assert mio.read_text(tmp_path / "a.txt") == "old"


def test_hash_and_size_of_what_was_written(tmp_path):
    for data in (b"", b"abc", bytes(3 << 20)):
        written = mio.write_bytes(tmp_path / "a", data)
        assert written == (len(data), mio.hash_bytes(data))
        assert written.hash == mio.hash_file(tmp_path / "a")
    with mio.atomic_write(tmp_path / "b") as file:  # written out of order
        file.write(b"0123456789" * 300_000)
        file.seek(3)
        file.write(b"xyz")
        file.seek(0, 2)
        file.write(b"end")
    assert file.written == ((tmp_path / "b").stat().st_size, mio.hash_file(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes()[:7] == b"012xyz6"


def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    mio.write_text(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from microtome import io
from microtome.errors import StorageError
folder = Path(sys.argv[1])
io.write_npz(folder / "f.npz", {"a": np.arange(1000)})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    io.write_npz(folder / "f.npz", {"a": np.random.default_rng(0).random(1 << 19)})
except StorageError:
    left = sorted(path.name for path in folder.iterdir())
    sys.exit(0 if left == ["f.npz"] and io.read_npz(folder / "f.npz")["a"].size == 1000 else 2)
sys.exit(1)
"""


def test_a_file_size_limit_of_the_system(tmp_path):
    """Not injected: the kernel itself refuses beyond 1 MiB, after a short write."""
    source = Path(mio.__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(source)}
    assert subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], env=env, timeout=120).returncode == 0


KILLED = """
import sys
from microtome import io
folder = sys.argv[1]
manifest = io.Manifest(folder)
print("ready", flush=True)
for n in range(10_000):
    written = io.write_bytes(f"{folder}/{n:05}.bin", bytes([n % 256]) * 70_000)
    manifest.add(f"{n:05}.bin", rows=n, written=written)
"""


def _killed(tmp_path: Path, times: int) -> None:
    """kill -9 at random instants: whatever the manifest names is whole, and at most one file waits for its line."""
    random = np.random.default_rng(0)
    env = {**os.environ, "PYTHONPATH": str(Path(mio.__file__).parents[2])}
    for round_ in range(times):
        folder = tmp_path / str(round_)
        folder.mkdir()
        child = subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], env=env, stdout=subprocess.PIPE)
        child.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(random.uniform(0.01, 0.15))
        child.kill()
        child.wait()
        child.stdout.close()
        mio.sweep_temporaries(folder)
        assert not list(folder.glob(f"{TEMPORARY}*"))
        manifest = mio.Manifest(folder)
        damage = [found for found in manifest.verify() if found.kind != "manifest"]
        assert [found.kind for found in damage] in ([], ["extra"])
        assert list(manifest.entries()) == [f"{n:05}.bin" for n in range(len(manifest))]
        for found in damage:  # resume: the interrupted file is written again
            mio.write_bytes(folder / found.file, b"again")
            manifest.add(found.file)
        assert [found for found in manifest.verify() if found.kind != "manifest"] == []


def test_killed_writers(tmp_path):
    _killed(tmp_path, 4)


@pytest.mark.slow
def test_killed_writers_full(tmp_path):
    _killed(tmp_path, 200)

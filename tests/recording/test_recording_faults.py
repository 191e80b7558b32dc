"""Killed writers, failing disks, bounded memory."""

import contextlib
import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import recording_synthetic as synthetic
import torch
from test_recording_writer import files

from microtome.errors import MicrotomeError, StorageError
from microtome.io import _os
from microtome.subject.recording import Plan, Recording, ShardWriter, open_committed

HERE = Path(__file__).parent
SAMPLES, SHARD, BATCH = 40, 13, 4


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "r"
    synthetic.write(str(folder), SAMPLES, SHARD, BATCH)
    return folder


class Killed(BaseException):
    """Stands for a process that ends between two system calls."""


def fail_at(monkeypatch, number: int, error: BaseException) -> list[str]:
    """Makes the n-th call into the write layer, of any kind, raise; returns the calls made so far."""
    calls = []
    for name in ("open", "write", "fsync", "replace", "unlink"):

        def guarded(*args, name=name):
            calls.append(name)
            if len(calls) == number:
                raise error
            return getattr(os, name)(*args)

        monkeypatch.setattr(_os, name, guarded)
    return calls


@contextlib.contextmanager
def must_be_storage_error(words: str):
    """Lets errors pass, and fails on any that does not say what the disk said."""
    try:
        yield
    except BaseException as error:
        assert isinstance(error, StorageError) and words in str(error) and "intact" in str(error)  # noqa: PT017, PT018
        raise


def check_committed(folder: Path, whole: Path) -> int:
    """Whatever is committed is readable and right; returns its rows."""
    if not (folder / "manifest.jsonl").is_file() or not (folder / "manifest.jsonl").stat().st_size:
        return 0
    part, full = open_committed(folder), Recording.load(whole)
    for site in full.sites:
        assert torch.equal(part[site].tensor(), full[site].tensor()[: len(part)])
    return len(part)


def points(monkeypatch, tmp_path) -> int:
    """How many calls into the write layer one recording makes."""
    with monkeypatch.context() as patch:
        calls = fail_at(patch, -1, OSError())
        synthetic.write(str(tmp_path / "count"), SAMPLES, SHARD, BATCH)
    return len(calls)


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_failing_disk_is_a_typed_error_and_loses_nothing_committed(monkeypatch, tmp_path, whole, step):
    total, seen = points(monkeypatch, tmp_path), set()
    assert total > 80
    for number in range(1, total + 1, step):
        folder = tmp_path / str(number)
        code = (errno.ENOSPC, errno.EIO)[number % 2]
        with monkeypatch.context() as patch:
            fail_at(patch, number, OSError(code, os.strerror(code)))
            with contextlib.suppress(MicrotomeError), must_be_storage_error(os.strerror(code)):
                synthetic.write(str(folder), SAMPLES, SHARD, BATCH)
        seen.add(check_committed(folder, whole))
        synthetic.write(str(folder), SAMPLES, SHARD, BATCH)
        assert files(folder) == files(whole)
    assert len(seen) > 3


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_ending_between_any_two_system_calls_leaves_a_resumable_folder(monkeypatch, tmp_path, whole, step):
    for number in range(1, points(monkeypatch, tmp_path) + 1, step):
        folder = tmp_path / str(number)
        with monkeypatch.context() as patch:
            fail_at(patch, number, Killed())
            with contextlib.suppress(Killed):
                synthetic.write(str(folder), SAMPLES, SHARD, BATCH)
        check_committed(folder, whole)
        synthetic.write(str(folder), SAMPLES, SHARD, BATCH)
        assert files(folder) == files(whole)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize("instants", [12, pytest.param(200, marks=pytest.mark.slow)])
def test_kill_9_at_random_instants(tmp_path, whole, instants):
    """After every kill: committed shards stay as they are, and the end is the same bytes with no stray file."""
    start = time.perf_counter()
    synthetic.write(str(tmp_path / "timed"), SAMPLES, SHARD, BATCH)
    longest = time.perf_counter() - start
    delays = torch.rand(instants, generator=torch.Generator().manual_seed(0)).tolist()
    folder, killed = tmp_path / "r", 0
    command = [sys.executable, str(HERE / "recording_synthetic.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as forks:
        for number, delay in enumerate(delays):
            kept = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in committed(folder)}
            forks.stdin.write(f"{folder}\t{delay * longest}\t{SAMPLES}\t{SHARD}\t{BATCH}\n")
            forks.stdin.flush()
            status = int(forks.stdout.readline())
            assert status in (0, -9)
            killed += status == -9
            for path, facts in kept.items():
                assert (path.stat().st_mtime_ns, path.stat().st_ino) == facts, "a committed shard was written again"
            check_committed(folder, whole)
            if status == 0:
                assert files(folder) == files(whole)
                folder = tmp_path / f"r{number}"
        forks.stdin.close()
    synthetic.write(str(folder), SAMPLES, SHARD, BATCH)
    assert files(folder) == files(whole)
    assert killed >= instants // 12  # on a busy machine many end before they are hit


def committed(folder: Path) -> list[Path]:
    """Shard files that the manifest names."""
    from microtome import io

    return [folder / file for file in io.Manifest(folder).entries() if file.startswith("shard-")] if folder.exists() else []


READER = """
import sys, torch
from pathlib import Path
from microtome.subject.recording import Recording, disk

def status(name):
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if name in line)

disk.OPEN_BYTES = 16 << 20
rec = Recording.load(sys.argv[1], verify="no")["x"]
rec.index
for work in sys.argv[2:]:
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak
    before = status("VmRSS")
    exec(work)
    print(status("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads peak memory from /proc")
def test_reading_and_streaming_do_not_load_everything(tmp_path):
    folder = tmp_path / "r"
    plan = Plan.of({"x": (1024,)}, rows=20000, shard_rows=1000)  # 82 MB in shards of 4 MB
    with ShardWriter(folder, plan) as writer:
        for lo in range(0, 20000, 2000):
            rows = {"sample": torch.arange(lo, lo + 2000), "position": torch.zeros(2000, dtype=torch.int64)}
            writer.add({"x": torch.full((2000, 1024), float(lo))}, rows)
        writer.finish()
    works = ["rec.select(range(5000, 5010)).matrix().sum()", "for b in rec.batches(512): b.sum()", "rec.matrix()"]
    command = [sys.executable, "-c", READER, str(folder), *works]
    rows, stream, everything = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert rows < 20_000  # kB
    assert stream < 45_000
    assert everything > 75_000

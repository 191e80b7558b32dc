"""The writer: same files whatever the batches, resumed or not; refusals; budgets; two writers; bit rot."""

import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import recording_synthetic as synthetic
import torch

from microtome import io
from microtome.engine.budget import Budget
from microtome.errors import (
    BudgetExceeded,
    FormatError,
    IntegrityError,
    NonFinite,
    ShapeError,
    SiteError,
    StudyLocked,
    SubjectMismatch,
    UsageError,
)
from microtome.subject.recording import MemoryWriter, Plan, Recording, ShardWriter, open_committed


def files(folder) -> dict[str, str]:
    """Name and hash of every file of a recording; locks are not part of it."""
    paths = [path for path in Path(folder).rglob("*") if path.is_file() and ".lock" not in path.name]
    return {path.relative_to(folder).as_posix(): io.hash_file(path) for path in sorted(paths)}


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reference") / "r"
    synthetic.write(str(folder), 25, 7)
    return folder


@pytest.mark.parametrize("per_batch", [1, 3, 25])
def test_files_do_not_depend_on_the_batch_size(reference, tmp_path, per_batch):
    synthetic.write(str(tmp_path / "r"), 25, 7, per_batch)
    assert files(tmp_path / "r") == files(reference)


@pytest.mark.parametrize("stop", [0, 1, 3, 6])
def test_resumed_files_are_identical_and_no_shard_is_written_twice(reference, tmp_path, stop):
    folder, plan = tmp_path / "r", synthetic.plan(25, 7)
    with ShardWriter(folder, plan) as writer:
        for lo in range(0, 4 * stop, 4):
            writer.add(*synthetic.batch(range(lo, lo + 4)))
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("shard-*")}
    (folder / ".microtome-left.tmp").write_bytes(b"half a shard")
    with ShardWriter.resume(folder) as writer:
        assert writer.committed == 7 * len(kept)
        assert not list(folder.glob(".microtome-*"))
    rec = synthetic.write(str(folder), 25, 7)
    assert files(folder) == files(reference)
    assert all((folder / name).stat().st_mtime_ns == time for name, time in kept.items())
    assert rec.fingerprint == Recording.load(reference).fingerprint
    assert synthetic.write(str(folder), 25, 7).fingerprint == rec.fingerprint  # finished: opens


def test_committed_rows_can_be_read_before_the_end(tmp_path, memory):
    with ShardWriter(tmp_path / "r", synthetic.plan(25, 7)) as writer:
        writer.add(*synthetic.batch(range(10)))
    part = open_committed(tmp_path / "r")
    assert len(part) % 7 == 0
    assert 0 < len(part) < len(memory)
    for site in memory.sites:
        assert torch.equal(part[site].tensor(), memory[site].tensor()[: len(part)])
    assert part.index.equals(memory.index[: len(part)])
    with pytest.raises(FormatError, match=f"{len(part)} rows are committed"):
        Recording.load(tmp_path / "r")


def test_resume_refuses_what_is_not_the_same(tmp_path):
    folder = tmp_path / "r"
    with ShardWriter(folder, synthetic.plan(25, 7)) as writer:
        writer.add(*synthetic.batch(range(10)))
    for other in (synthetic.plan(25, 8), synthetic.plan(25, 7, torch.float16), synthetic.plan(25, 7, data="other")):
        with pytest.raises(SubjectMismatch, match=r"another plan: .* was .*, is "):
            ShardWriter(folder, other)
    with ShardWriter(folder, synthetic.plan(30, 7)) as writer:  # another estimate of the rows is no other plan
        late = writer.next_sample + 1
        with pytest.raises(UsageError, match=f"Start again at sample {writer.next_sample}"):
            writer.add(*synthetic.batch(range(late, late + 1)))
        with pytest.raises(UsageError, match="not all came again"):
            writer.finish()
    values, index, labels = synthetic.batch(range(10))
    with ShardWriter(folder, synthetic.plan(25, 7)) as writer, pytest.raises(SubjectMismatch, match="'position'"):
        writer.add(values, index | {"position": np.append(index["position"][:-15], index["position"][-15:] + 1)}, labels)
    with ShardWriter(folder, synthetic.plan(25, 7)) as writer, pytest.raises(SubjectMismatch, match="labels"):
        writer.add(values, index)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="other files"):
        ShardWriter(tmp_path / "other", synthetic.plan(25, 7))
    assert (tmp_path / "other" / "thesis.tex").read_text() == "years of work"
    with pytest.raises(UsageError, match="no recording to resume"):
        ShardWriter.resume(tmp_path / "nothing")


def test_batches_that_do_not_fit_the_plan_are_refused(tmp_path):
    values, index, labels = synthetic.batch(range(3))
    with ShardWriter(tmp_path / "r", synthetic.plan(3, 7)) as disk:
        for writer in (disk, MemoryWriter(synthetic.plan(3, 7))):
            with pytest.raises(SiteError, match="lacks site"):
                writer.add({"blocks.0.mlp.out": values["blocks.0.mlp.out"]}, index, labels)
            with pytest.raises(SiteError, match="no site"):
                writer.add(values | {"blocks.0.mlp.ou": torch.zeros(1)}, index, labels)
            with pytest.raises(ShapeError):
                writer.add({name: tensor[:, :1] for name, tensor in values.items()}, index, labels)
            with pytest.raises(ShapeError, match="index column"):
                writer.add(values, index | {"position": [0]}, labels)
            with pytest.raises(UsageError, match="'sample' and 'position'"):
                writer.add(values, {"sample": index["sample"]}, labels)
            writer.add(values, index, labels)
            with pytest.raises(UsageError, match="keep them the same"):
                writer.add(values, index)
    with pytest.raises(UsageError, match="at least one site"):
        Plan.of({})
    with pytest.raises(UsageError, match="float32"):
        Plan.of({"a": (1,)}, dtype=torch.int8)


def test_nan_stops_the_writer_and_names_the_cell(tmp_path):
    for writer in (ShardWriter(tmp_path / "r", Plan.of({"a": (4,)}, shard_rows=5)), MemoryWriter(Plan.of({"a": (4,)}))):
        values = torch.zeros(12, 4)
        values[11, 2] = float("inf")
        index = {"sample": np.arange(20, 32), "position": np.zeros(12, int)}
        writer.add({"a": torch.zeros(8, 4)}, {"sample": np.arange(8), "position": np.zeros(8, int)})
        with pytest.raises(NonFinite, match=r"'a' has 1 value .*row 19, unit \(2,\)"):
            writer.add({"a": values}, index)
    with pytest.raises(StudyLocked):
        ShardWriter(tmp_path / "r", Plan.of({"a": (4,)}, shard_rows=5))
    half = MemoryWriter(Plan.of({"a": (1,)}, dtype=torch.float16))
    with pytest.raises(NonFinite, match="exceed float16"):
        half.add({"a": torch.full((1, 1), 1e6)}, {"sample": [0], "position": [0]})


def test_estimates_are_within_a_tenth(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(30):
        units, rows = int(rng.integers(32, 300)), int(rng.integers(800, 2000))
        dtype = [torch.float32, torch.float16, torch.bfloat16][number % 3]
        plan = Plan.of({"a": (units,)}, rows=rows, dtype=dtype, shard_rows=int(rng.integers(300, 4000)))
        with ShardWriter(tmp_path / str(number), plan) as writer:
            index = {"sample": np.arange(rows) // 50, "position": np.arange(rows) % 50}
            writer.add({"a": torch.zeros(rows, units)}, index | {"token": [f"t{i % 97}" for i in range(rows)]})
            writer.finish()
        real = sum(path.stat().st_size for path in (tmp_path / str(number)).iterdir())
        # Small recordings carry some kB of headers and Parquet schema that no row pays for.
        assert abs(plan.estimate().bytes - (real - 12_000)) < 0.1 * real
        shutil.rmtree(tmp_path / str(number))


def test_the_disk_budget_stops_cleanly(tmp_path, monkeypatch, memory):
    plan = synthetic.plan(25, 7)
    with pytest.raises(BudgetExceeded, match="budget"):
        ShardWriter(tmp_path / "a", plan, budget=Budget(disk_bytes=100))
    assert not (tmp_path / "a").exists()
    unplanned = Plan.of(synthetic.SHAPES, axes=synthetic.AXES, shard_rows=7)
    writer = ShardWriter(tmp_path / "b", unplanned, budget=Budget(disk_bytes=1000))
    with writer, pytest.raises(BudgetExceeded, match="written is kept"):
        writer.add(*synthetic.batch(range(25)))
    kept = open_committed(tmp_path / "b")
    assert 1000 - 7 * 28 < len(kept) * 28 <= 1000
    assert torch.equal(kept["blocks.0.mlp.out"].matrix(), memory["blocks.0.mlp.out"].matrix()[: len(kept)])
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100 << 30, 0, 2 << 30))
    with ShardWriter(tmp_path / "b", unplanned) as writer:  # the same plan goes on with more room
        writer.add(*synthetic.batch(range(20)))
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100 << 30, 0, 1 << 30))
        with pytest.raises(BudgetExceeded, match=r"1\.1 GB free and keeps 1\.1 GB"):
            writer.add(*synthetic.batch(range(20, 25)))
    assert len(open_committed(tmp_path / "b")) > len(kept)


def test_the_second_writer_is_refused_with_the_process_named(tmp_path):
    command = [sys.executable, str(Path(__file__).with_name("recording_hold.py")), str(tmp_path / "r")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StudyLocked, match=f"process {other.pid}"):
            ShardWriter(tmp_path / "r", synthetic.plan(25, 7))
        other.stdin.write("\n")
        other.stdin.close()
        assert other.wait() == 0
    assert len(synthetic.write(str(tmp_path / "r"), 25, 7)) > 0


@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_every_changed_byte_is_named(reference, tmp_path, count):
    rng = np.random.default_rng(count)
    shutil.copytree(reference, tmp_path / "r", ignore=shutil.ignore_patterns("*.lock*"))
    everything = sorted(path for path in (tmp_path / "r").iterdir())
    for number in range(count):
        path = everything[number % len(everything)]
        good = path.read_bytes()
        bad = bytearray(good)
        bad[int(rng.integers(len(bad)))] ^= int(rng.integers(1, 256))
        path.write_bytes(bad)
        with pytest.raises(FormatError, match=path.name.replace("manifest.jsonl", "manifest")):
            Recording.load(tmp_path / "r", verify="full")
        path.write_bytes(good)
    Recording.load(tmp_path / "r", verify="full")


def test_lazy_verification_names_the_shard_when_it_is_read(reference, tmp_path):
    shutil.copytree(reference, tmp_path / "r", ignore=shutil.ignore_patterns("*.lock*"))
    path = tmp_path / "r" / "shard-00002.safetensors"
    bad = bytearray(path.read_bytes())
    bad[-1] ^= 1
    path.write_bytes(bad)
    rec = Recording.load(tmp_path / "r")["blocks.0.mlp.out"]
    assert len(rec.select(range(14)).matrix()) == 14
    with pytest.raises(IntegrityError, match=r"shard-00002.*expected hash .*found"):
        rec.matrix()
    assert len(Recording.load(tmp_path / "r", verify="no")["blocks.0.mlp.out"].matrix()) == len(rec)
    path.unlink()
    with pytest.raises(IntegrityError, match="missing"):
        Recording.load(tmp_path / "r")["blocks.0.mlp.out"].matrix()
    with pytest.raises(IntegrityError, match=r"shard-00002\.safetensors: missing"):
        Recording.load(tmp_path / "r", verify="full")
    with pytest.raises(UsageError, match="verify is"):
        Recording.load(tmp_path / "r", verify="maybe")
    with pytest.raises(FormatError, match="no recording is there"):
        Recording.load(tmp_path / "empty")

"""Promises 12, 13, 17 and 18 of recordings through a subject: memory, kills, determinism, numbers."""

import hashlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import record_and_kill as writer
import torch
from subject_slow import language, metric_for

from microtome.errors import BudgetExceeded, MicrotomeError
from microtome.subject.edit import ablate, scale
from microtome.subject.recording import Recording, plan

CPU = "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."


@pytest.fixture(scope="module")
def world():
    return writer.world()


@pytest.fixture(autouse=True)
def _shard_size(monkeypatch):
    monkeypatch.setattr(plan, "SHARD_BYTES", 4000)


def files(folder):
    return {p.name: hashlib.blake2b(p.read_bytes()).hexdigest() for p in sorted(Path(folder).iterdir())}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize("instants", [6, pytest.param(200, marks=pytest.mark.slow)])
def test_kill_9_at_random_instants_ends_in_the_same_files(tmp_path, world, instants):
    began = time.perf_counter()
    held = writer.write(*world, tmp_path / "whole")
    longest = time.perf_counter() - began
    whole, killed, folder = files(tmp_path / "whole"), 0, tmp_path / "r"
    assert len(whole) > 8
    draw = random.Random(0)
    command = [sys.executable, str(Path(__file__).parent / "record_and_kill.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as forks:
        for number in range(instants):
            forks.stdin.write(f"{folder}\t{draw.random() * longest}\n")
            forks.stdin.flush()
            status = int(forks.stdout.readline())
            assert status in (0, -9)
            killed += status == -9
            if status == 0:
                assert files(folder) == whole
                folder = tmp_path / f"r{number}"
        forks.stdin.close()
    again = writer.write(*world, folder)
    assert files(folder) == whole
    assert again.fingerprint == held.fingerprint
    assert killed >= instants // 4


@pytest.mark.parametrize("disk", [False, True])
@pytest.mark.parametrize("calls", [8, pytest.param(30, marks=pytest.mark.slow)])
def test_out_of_memory_at_any_call_loses_no_row(tmp_path, calls, disk):
    subject, inputs = language("llama", "right", lengths=[3 + (7 * i) % 11 for i in range(2 * calls)])
    whole = subject.record(inputs, writer.SITES, batch=2)
    for number in range(calls):
        error = torch.OutOfMemoryError("planted") if number % 2 else RuntimeError(CPU)
        with _failing(subject, [number], error) as seen:
            found = subject.record(inputs, writer.SITES, batch=2, to=tmp_path / str(number) if disk else None)
        assert seen["calls"] > calls
        assert found.index.equals(whole.index)
        assert not found.index.duplicated(["sample", "position"]).any()
        for site in writer.SITES:
            torch.testing.assert_close(found[site].tensor(), whole[site].tensor(), atol=1e-5, rtol=0)


def test_memory_that_never_comes_back_is_a_typed_error(tmp_path, world):
    subject, inputs = world
    for disk in (None, tmp_path / "r"):
        with _failing(subject, range(1000), torch.OutOfMemoryError("planted")), pytest.raises(BudgetExceeded):
            subject.record(inputs, writer.SITES, batch=64, to=disk)
    whole = subject.record(inputs, writer.SITES, batch=4)
    assert subject.record(inputs, writer.SITES, batch=4, to=tmp_path / "r").fingerprint == whole.fingerprint


class _failing:
    """Within the context, forwards with the given numbers fail."""

    def __init__(self, subject, numbers, error):
        self.subject, self.numbers, self.error, self.seen = subject, set(numbers), error, {"calls": 0}

    def __enter__(self):
        def fail(*_):
            self.seen["calls"] += 1
            if self.seen["calls"] - 1 in self.numbers:
                raise self.error

        self.handle = self.subject.module.model.layers[0].register_forward_pre_hook(fail)
        return self.seen

    def __exit__(self, *_):
        self.handle.remove()


def test_sweeps_survive_a_failed_allocation():
    subject, inputs = language("llama", "right")
    metric = metric_for(inputs)
    entries = [scale("blocks.0.resid_pre", 0.1 * k, position=0) for k in range(9)]
    expected = subject.sweep(inputs, entries, metric).values
    with _failing(subject, [1], torch.OutOfMemoryError("planted")):
        found = subject.sweep(inputs, entries, metric)
    torch.testing.assert_close(found.values, expected, atol=1e-5, rtol=1e-5)
    with _failing(subject, range(1, 1000), torch.OutOfMemoryError("planted")), pytest.raises(MicrotomeError):
        subject.sweep(inputs, entries, metric)


def test_the_same_call_gives_the_same_bytes(tmp_path, world):
    subject, inputs = world
    first, again = (writer.write(subject, inputs, tmp_path / name) for name in ("a", "b"))
    assert files(tmp_path / "a") == files(tmp_path / "b")
    other = writer.write(*writer.world(), tmp_path / "c")  # the same subject built again
    assert files(tmp_path / "c") == files(tmp_path / "a")
    assert first.fingerprint == again.fingerprint == other.fingerprint
    assert Recording.load(tmp_path / "a", verify="full").fingerprint == first.fingerprint
    edit = ablate("blocks.0.resid_post", how="resample", seed=5)
    runs = [subject.run(inputs, edits=[edit]).logits for _ in range(2)]
    assert torch.equal(*runs)
    assert not torch.equal(runs[0], subject.run(inputs, edits=[ablate("blocks.0.resid_post", how="resample", seed=6)]).logits)


def test_a_finished_recording_is_not_recorded_again(tmp_path, world):
    subject, inputs = world
    writer.write(subject, inputs, tmp_path / "r")
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "r").iterdir()}
    with _failing(subject, range(3, 1000), RuntimeError("should not run")) as seen:
        writer.write(subject, inputs, tmp_path / "r")
    assert seen["calls"] <= 2
    assert before == {p.name: p.stat().st_mtime_ns for p in (tmp_path / "r").iterdir()}

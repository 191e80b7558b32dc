"""Promise 16: two writers never tear or lose a record; the second waits, or hears who holds the lock."""

import multiprocessing
import os

import pytest

from microtome import io as mio
from microtome.errors import StudyLocked


def _race(folder: str, rounds: int, me: int, barrier) -> None:
    for number in range(rounds):
        place = f"{folder}/{number}"
        barrier.wait(60)
        for turn in range(3):
            mio.append_jsonl(f"{place}/log.jsonl", {"who": me, "turn": turn, "text": "x" * (1000 * me)})
            written = mio.write_bytes(f"{place}/{me}-{turn}.bin", bytes([me]) * 100)
            mio.Manifest(place).add(f"{me}-{turn}.bin", rows=turn, written=written)
        mio.write_json(f"{place}/shared.json", {"who": me})


def _races(folder, rounds: int) -> None:
    for number in range(rounds):
        (folder / str(number)).mkdir()
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    children = [context.Process(target=_race, args=(str(folder), rounds, me, barrier)) for me in (1, 2)]
    for child in children:
        child.start()
    for child in children:
        child.join(500)
    assert [child.exitcode for child in children] == [0, 0]
    for number in range(rounds):
        place = folder / str(number)
        rows = mio.read_jsonl(place / "log.jsonl")
        for me in (1, 2):
            assert [row["turn"] for row in rows if row["who"] == me] == [0, 1, 2]
        assert len(rows) == 6
        assert len(mio.Manifest(place)) == 6
        assert {damage.file for damage in mio.Manifest(place).verify()} == {"log.jsonl", "shared.json"}
        assert mio.read_json(place / "shared.json")["who"] in (1, 2)


def test_races(tmp_path):
    _races(tmp_path, 10)


@pytest.mark.slow
def test_races_full(tmp_path):
    _races(tmp_path, 100)


def _hold(path: str, ready, release) -> None:
    with mio.lock(path):
        ready.set()
        release.wait(60)


@pytest.fixture
def holder(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    child = context.Process(target=_hold, args=(str(tmp_path / "study"), ready, release))
    child.start()
    assert ready.wait(60)
    yield child, release
    if child.is_alive():  # setting an event waits for its waiters, for ever if one was killed
        release.set()
    child.join(60)


def test_the_holder_is_named_and_waited_for(tmp_path, holder):
    child, release = holder
    with pytest.raises(StudyLocked, match=rf"process {child.pid}\b") as caught, mio.lock(tmp_path / "study"):
        pass
    assert caught.value.pid == child.pid
    with mio.lock(tmp_path / "other"):
        pass
    release.set()
    with mio.lock(tmp_path / "study", timeout=30):
        pass


def test_a_killed_holder_leaves_no_lock(tmp_path, holder):
    child, _ = holder
    child.kill()
    child.join(60)
    with mio.lock(tmp_path / "study", timeout=30):
        pass


def test_the_same_process_twice(tmp_path):
    with mio.lock(tmp_path / "study"), pytest.raises(StudyLocked, match=str(os.getpid())), mio.lock(tmp_path / "study"):
        pass
    with mio.lock(tmp_path / "study"):
        pass


def test_the_lock_is_released_after_an_error(tmp_path):
    with pytest.raises(KeyError), mio.lock(tmp_path / "study"):
        raise KeyError
    with mio.lock(tmp_path / "study"):
        pass

"""Engines give the same results in the same order, and keep what finished."""

import os

import pytest
from engine_jobs import die, fail_at_three, slow_first, square, write
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome.engine import Engine, parse_shard, shard
from microtome.errors import BudgetExceeded, MissingExtra, UsageError


@pytest.mark.parametrize("how", ["serial", "processes:1", "processes:2"])
def test_results_in_order(how):
    kept = []
    found = Engine(how).map(square, range(12), keep=lambda item, result: kept.append((item, result)))
    assert found == [x * x for x in range(12)]
    assert sorted(kept) == [(x, x * x) for x in range(12)]
    assert Engine(how).map(square, []) == []


def test_processes_are_other_processes():
    found = Engine("processes:2").map(slow_first, range(6))
    assert [x for x, _ in found] == list(range(6))
    assert os.getpid() not in {pid for _, pid in found}


@pytest.mark.parametrize("how", ["serial", "processes:2"])
def test_what_is_done_is_not_done_again(tmp_path, how):
    paths = [str(tmp_path / str(n)) for n in range(6)]
    for path in paths[:3]:
        write(path)
        os.utime(path, (1, 1))
    kept = []
    done = lambda path: path if os.path.exists(path) else None  # noqa: E731
    assert Engine(how).map(write, paths, done=done, keep=lambda item, _: kept.append(item)) == paths
    assert sorted(kept) == paths[3:]
    assert [os.stat(path).st_mtime for path in paths[:3]] == [1, 1, 1]


@pytest.mark.parametrize("how", ["serial", "processes:2"])
def test_an_error_keeps_what_finished(how):
    kept = []
    with pytest.raises(KeyError, match="item 3"):
        Engine(how).map(fail_at_three, range(8), keep=lambda item, result: kept.append(item))
    assert {0, 1, 2} <= set(kept)
    assert 3 not in kept


def test_a_killed_worker():
    with pytest.raises(BudgetExceeded, match="killed"):
        Engine("processes:1").map(die, range(3))


def test_interrupt_keeps_what_finished():
    kept = []

    def job(x):
        if x == 3:
            raise KeyboardInterrupt
        return x

    with pytest.raises(KeyboardInterrupt):
        Engine().map(job, range(6), keep=lambda item, _: kept.append(item))
    assert kept == [0, 1, 2]


def test_interrupt_with_processes(monkeypatch):
    """Ctrl-C while waiting: no new job starts, those that run are kept, then the interrupt goes on."""
    import concurrent.futures

    real, calls, kept = concurrent.futures.wait, [], []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(concurrent.futures, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Engine("processes:1").map(slow_first, range(200), keep=lambda item, _: kept.append(item))
    assert 1 <= len(kept) < 200
    assert kept == list(range(len(kept)))


@pytest.mark.parametrize("how", ["proceses:2", "processes:0", "processes", "", "threads:4", "processes:-1"])
def test_unknown_engines(how):
    with pytest.raises(UsageError, match="no engine"):
        Engine(how)


def test_engines_of_later():
    with pytest.raises(UsageError, match="--shard"):
        Engine("torchrun")
    with pytest.raises((MissingExtra, UsageError), match=r"cluster|--shard"):
        Engine("ray://host:10001")


@settings(deadline=None)
@given(st.lists(st.integers(), max_size=40), st.integers(1, 12))
def test_shards_cover_each_item_once(items, n):
    parts = [shard(items, i, n) for i in range(n)]
    assert [item for part in parts for item in part] == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(("i", "n"), [(-1, 2), (2, 2), (0, 0), (True, 2), (0.0, 2)])
def test_no_such_shard(i, n):
    with pytest.raises(UsageError, match="no shard"):
        shard([1, 2], i, n)


@pytest.mark.parametrize("text", ["", "1", "2/2", "a/b", "1/0", "-1/2", "1/2/3", "0x1/2"])
def test_shard_texts(text):
    assert parse_shard("0/4") == (0, 4)
    with pytest.raises(UsageError, match="not a shard"):
        parse_shard(text)

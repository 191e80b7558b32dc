# ruff: noqa: E501  (tables of payloads)
"""Promise 11: budgets, the reserve on the disk, and the progress bar."""

import io
import shutil
import sys
from collections import namedtuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microtome.engine import Budget, available_memory, format_bytes, free_disk, parse_bytes, progress
from microtome.errors import BudgetExceeded, UsageError

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("7", 7), ("1kB", 1000), ("1 KiB", 1024), ("200GB", 200 * 10**9), ("1.5gib", 3 * 2**29), ("2T", 2 * 10**12), ("3m", 3 * 10**6), ("5b", 5)],
)  # fmt: skip
def test_sizes(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1XB", "1 2", "1e9", "nan", None, True, -1, 1.5, "1ib", "i"])
def test_bad_sizes(text):
    with pytest.raises(UsageError, match="not a size"):
        parse_bytes(text)


@given(st.integers(0, 10**18))
def test_plain_numbers(count):
    assert parse_bytes(count) == parse_bytes(str(count)) == count
    assert format_bytes(count)


def test_memory():
    assert available_memory() > 0
    assert Budget().memory <= available_memory() * 2
    budget = Budget.parse(memory="1MB")
    budget.check_memory(10**6, "x")
    with pytest.raises(BudgetExceeded, match=r"a recording needs about 1.5 MB of memory; the budget is 1.0 MB"):
        budget.check_memory(1_500_000, "a recording")
    assert budget.rows(3000) == 333
    assert budget.rows(10**9) == 1


@pytest.fixture
def disk(monkeypatch):
    """Set the size of the disk and what is free."""

    def set_to(total, free):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(total, total - free, free))

    return set_to


def test_the_reserve(tmp_path, disk):
    for total, reserve in ((1000 * 2**30, 2**30), (2**24, int(2**24 * 0.05))):
        budget = Budget()
        assert budget.reserve(total) == reserve
        disk(total, reserve + 100)
        budget.check_disk(tmp_path / "not" / "yet", 100, "a shard")
        with pytest.raises(BudgetExceeded, match=r"in reserve\. What was written is kept"):
            budget.check_disk(tmp_path, 101, "a shard")
    disk(1000, 10)
    Budget(reserve_bytes=0).check_disk(tmp_path, 10, "a shard")


def test_the_disk_budget(tmp_path):
    budget = Budget.parse(disk="1kB")
    budget.check_disk(tmp_path, 400, "a shard", used=600)
    with pytest.raises(BudgetExceeded, match=r"needs 1.0 kB on disk; the budget is 1.0 kB"):
        budget.check_disk(tmp_path, 401, "a shard", used=600)


def test_shards_stop_at_the_budget(tmp_path):
    """A writer that asks before each shard never passes the budget and keeps what it wrote."""
    budget, used = Budget(disk_bytes=1050, reserve_bytes=0), 0
    with pytest.raises(BudgetExceeded):  # noqa: PT012
        for n in range(100):
            budget.check_disk(tmp_path, 100, "a shard", used=used)
            (tmp_path / str(n)).write_bytes(bytes(100))
            used += 100
    assert len(list(tmp_path.iterdir())) == 10


def test_free_disk(tmp_path):
    free, total = free_disk(tmp_path / "a" / "b" / "c")
    assert 0 < free < total


@pytest.mark.parametrize(
    "bad", [{"memory_bytes": -1}, {"disk_bytes": -1}, {"reserve_share": 1.0}, {"reserve_bytes": -5}]
)
def test_bad_budgets(bad):
    with pytest.raises(UsageError, match="negative"):
        Budget(**bad)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_silent_without_a_terminal(capsys):
    with progress(3, "x") as advance:
        advance(3)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_progress_on_a_terminal(monkeypatch):
    screen, out = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("TERM", "xterm")
    with progress(3, "[red]label[/red] \x1b]0;evil\x07") as advance:
        advance(2)
    assert "[red]label[/red]" in screen.getvalue()
    assert "\x1b]0;evil" not in screen.getvalue()
    assert out.getvalue() == ""
    with pytest.raises(KeyError), progress(None, "unknown length"):
        raise KeyError

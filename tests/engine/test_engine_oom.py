"""Promise 12: out of memory halves the batch; each row once; never with coupled rows."""

import gc
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome.engine import is_out_of_memory, oom, shrink_on_oom
from microtome.engine.oom import MAX_HALVINGS
from microtome.errors import BudgetExceeded, UsageError


@pytest.fixture(autouse=True, scope="module")
def quick_release():
    """A garbage collection per halving is what users want and tests need not wait for; one test below asks for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oom, "_release", lambda: None)
        yield


def cpu_error() -> RuntimeError:
    """What this torch really raises on the CPU."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    return caught.value


ERRORS = [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), cpu_error()]


def test_the_message_of_the_cpu_allocator_is_known():
    error = cpu_error()
    assert type(error) is RuntimeError
    assert is_out_of_memory(error), str(error)
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(RuntimeError("can't allocate memory for a joke"))
    assert not is_out_of_memory(ValueError("DefaultCPUAllocator: can't allocate memory"))


@pytest.mark.parametrize("error", ERRORS, ids=["accelerator", "python", "cpu"])
@pytest.mark.parametrize("at", range(1, 31))
def test_out_of_memory_at_each_call(at, error):
    x = torch.randn(61, 8, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    calls = []

    def fn(rows):
        calls.append(len(rows))
        if len(calls) == at:
            raise error
        return rows @ weight

    results, batch = shrink_on_oom(fn, x, 2)
    assert torch.allclose(torch.cat(results), x @ weight, atol=1e-5, rtol=0)
    assert len(torch.cat(results)) == 61
    assert batch == 1
    assert calls[:at] == [2] * at


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 70), st.integers(1, 80), st.integers(1, 80))
def test_each_row_once(rows, batch, fits):
    def fn(part):
        if len(part) > fits:
            raise MemoryError
        return list(part)

    items = list(range(rows))
    try:
        results, used = shrink_on_oom(fn, items, batch)
    except BudgetExceeded:
        assert min(batch, rows) > fits * 2 ** (MAX_HALVINGS - 1)
        return
    assert [item for part in results for item in part] == items
    assert used <= batch
    assert all(len(part) <= fits for part in results)


def test_at_most_six_halvings():
    seen = []

    def fn(part):
        seen.append(len(part))
        raise MemoryError

    with pytest.raises(BudgetExceeded, match="after 6 halvings") as caught:
        shrink_on_oom(fn, list(range(10_000)), 1024)
    assert seen == [1024, 512, 256, 128, 64, 32, 16]
    assert isinstance(caught.value.__cause__, MemoryError)
    seen.clear()
    with pytest.raises(BudgetExceeded, match="batch of 1 "):
        shrink_on_oom(fn, [1, 2, 3, 4], 4)
    assert seen == [4, 2, 1]


def test_coupled_rows_are_never_split():
    seen = []

    def fn(part):
        seen.append(len(part))
        raise MemoryError

    with pytest.raises(BudgetExceeded, match="couples the rows"):
        shrink_on_oom(fn, list(range(8)), 8, coupled=True)
    assert seen == [8]
    assert shrink_on_oom(len, list(range(8)), 3, coupled=True) == ([3, 3, 2], 3)


def test_other_errors_pass():
    def fn(part):
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        shrink_on_oom(fn, [1, 2], 2)


def test_the_failed_call_is_let_go_before_the_next(monkeypatch):
    monkeypatch.setattr(oom, "_release", gc.collect)
    alive = []

    class Big:
        pass

    def fn(part):
        assert not [ref for ref in alive if ref() is not None]
        big = Big()
        alive.append(weakref.ref(big))
        if len(part) > 1:
            raise MemoryError
        return len(part)

    assert shrink_on_oom(fn, [1, 2, 3, 4], 4)[0] == [1, 1, 1, 1]


@pytest.mark.parametrize("batch", [0, -1, 2.0, True, None])
def test_bad_batches(batch):
    with pytest.raises(UsageError, match="batch"):
        shrink_on_oom(len, [1], batch)

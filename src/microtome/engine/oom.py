"""Out of memory: halve the batch and go on, each row exactly once."""

import gc
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from microtome.errors import BudgetExceeded, UsageError

Result = TypeVar("Result")
MAX_HALVINGS = 6
# torch has no exception type for a failed allocation on the CPU; a test pins this message.
CPU_ALLOCATOR = "DefaultCPUAllocator: "
_CPU_WORDS = ("can't allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that an allocation failed: by type, or for the CPU allocator by its message."""
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and CPU_ALLOCATOR in text and any(word in text for word in _CPU_WORDS)


def shrink_on_oom(
    fn: Callable[[Any], Result], items: Sequence | Any, batch: int, *, coupled: bool = False
) -> tuple[list[Result], int]:
    """Call `fn` on successive slices of `items`; when memory runs out, halve the slice and go on from there.

    Parameters
    ----------
    fn : callable
        Takes ``items[a:b]``, returns its result; must have no effect when it raises.
    items : sized and sliceable
        A list, tensor, Inputs, ... whose slices are independent.
    batch : int
        Rows of a slice to start with.
    coupled : bool, default False
        The rows of a batch act on each other (BatchTopK, batch normalisation), so a smaller batch would give another
        result: refuse instead of halving.

    Returns
    -------
    results : list
        One result per slice, in order; together they cover each row exactly once.
    batch : int
        The slice size at the end, at most what was asked.

    Raises
    ------
    BudgetExceeded
        Memory ran out with one row, after 6 halvings, or when `coupled`.

    Examples
    --------
    >>> def double(part):
    ...     if len(part) > 2:
    ...         raise MemoryError
    ...     return [2 * x for x in part]
    >>> shrink_on_oom(double, [1, 2, 3, 4, 5], 5)
    ([[2, 4], [6, 8], [10]], 2)
    """
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise UsageError(f"batch must be an int >= 1, got {batch!r}. Use 1 for one row at a time.")
    results: list[Result] = []
    start, halvings, total = 0, 0, len(items)
    while start < total:
        try:
            results.append(fn(items[start : start + batch]))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            _refuse_if_final(batch, halvings, coupled, error)
        else:
            start += batch
            continue
        # Outside the except block: the traceback held the tensors of the failed call.
        batch, halvings = (min(batch, total - start) + 1) // 2, halvings + 1
        _release()
    return results, batch


def _refuse_if_final(batch: int, halvings: int, coupled: bool, error: BaseException) -> None:
    if coupled:
        raise BudgetExceeded(
            f"out of memory with a batch of {batch}, and this method couples the rows of a batch, so a smaller one "
            "would change the result. Ask for a smaller batch yourself, fewer units, or use a larger machine."
        ) from error
    if batch == 1 or halvings == MAX_HALVINGS:
        raise BudgetExceeded(
            f"out of memory with a batch of {batch} after {halvings} halvings. Use shorter inputs or fewer sites, "
            "record to disk, or use a larger machine."
        ) from error


def _release() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()

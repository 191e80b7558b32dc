"""How work is spread: one job per item, in this process or in several."""

import re
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from microtome.engine.progress_bar import progress
from microtome.errors import BudgetExceeded, MissingExtra, UsageError, nearest

Item = TypeVar("Item")
_KINDS = ("serial", "processes:2", "torchrun", "ray://")


def shard(items: Sequence[Item], i: int, n: int) -> Sequence[Item]:
    """Part `i` of `n` contiguous parts whose sizes differ by at most one; together the parts are `items` in order.

    Raises
    ------
    UsageError
        Not 0 <= i < n.

    Examples
    --------
    >>> [shard([1, 2, 3, 4, 5], i, 2) for i in (0, 1)]
    [[1, 2, 3], [4, 5]]
    """
    if isinstance(i, bool) or not (isinstance(i, int) and isinstance(n, int) and 0 <= i < n):
        raise UsageError(f"there is no shard {i!r} of {n!r}. Count from 0: shards 0/n to (n-1)/n.")
    size, more = divmod(len(items), n)
    start = i * size + min(i, more)
    return items[start : start + size + (i < more)]


def parse_shard(text: str) -> tuple[int, int]:
    """The pair (i, n) of a command-line shard such as ``"0/4"``.

    >>> parse_shard("1/4")
    (1, 4)
    """
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not found or not int(found[1]) < int(found[2]):
        raise UsageError(f"{text!r} is not a shard. Write i/n with 0 <= i < n, such as 0/4.")
    return int(found[1]), int(found[2])


class Engine:
    """Runs idempotent jobs.

    Parameters
    ----------
    how : str, default "serial"
        ``"serial"``: here, one after the other. ``"processes:N"``: in N processes of this machine.

    Raises
    ------
    MissingExtra
        ``"ray://..."`` without ray.
    UsageError
        An engine that does not exist, or ``"torchrun"`` and ``"ray://"``, whose work is split by shards today.

    Notes
    -----
    A job must be idempotent: running it twice with one item leaves what running it once leaves. Then an interrupted
    `map` is resumed by calling it again. With processes the job is a function at the top level of a module, and it and
    the items can be pickled. Results are independent of the engine and of the order in which jobs finish.

    Examples
    --------
    >>> Engine("serial").map(abs, [-1, 2, -3])
    [1, 2, 3]
    """

    def __init__(self, how: str = "serial"):
        self.how = how
        self.workers = _workers(how)

    def __repr__(self) -> str:
        return f"Engine({self.how!r})"

    def map(
        self,
        job: Callable[[Item], Any],
        items: Iterable[Item],
        *,
        done: Callable[[Item], Any] | None = None,
        keep: Callable[[Item, Any], None] | None = None,
        label: str = "working",
    ) -> list[Any]:
        """The results of `job` for all `items`, in their order.

        Parameters
        ----------
        job : callable
            Takes one item.
        items : iterable
            What to work on.
        done : callable, optional
            ``done(item)`` gives the result of an item finished earlier, or None: then the job runs.
        keep : callable, optional
            ``keep(item, result)`` is called in this process as soon as a job has finished, to store its result.
        label : str
            For the progress bar.

        Raises
        ------
        BudgetExceeded
            A process was killed, most often because memory ran out; finished jobs were kept.
        KeyboardInterrupt
            After Ctrl-C: no further job starts, those that run finish and are kept.
        """
        items = list(items)
        results: list[Any] = [None if done is None else done(item) for item in items]
        todo = [i for i, result in enumerate(results) if result is None]
        run = self._here if self.workers == 0 else self._spread
        with progress(len(items), label) as advance:
            advance(len(items) - len(todo))
            for i, result in run(job, items, todo):
                results[i] = result
                if keep is not None:
                    keep(items[i], result)
                advance(1)
        return results

    def _here(self, job: Callable, items: list, todo: list[int]) -> Iterator[tuple[int, Any]]:
        for i in todo:
            yield i, job(items[i])

    def _spread(self, job: Callable, items: list, todo: list[int]) -> Iterator[tuple[int, Any]]:
        import multiprocessing
        from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
        from concurrent.futures.process import BrokenProcessPool

        # spawn: a fork of a process that holds torch threads or a GPU can hang
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(min(self.workers, max(1, len(todo))), context, initializer=_ignore_interrupt)
        futures = {pool.submit(job, items[i]): i for i in todo}
        waiting = set(futures)
        stopped: BaseException | None = None
        try:
            while waiting:
                try:
                    ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                except KeyboardInterrupt as interrupt:
                    stopped = interrupt
                    waiting = {future for future in waiting if not future.cancel()}
                    continue
                for future in sorted(ready, key=futures.__getitem__):
                    error = future.exception()
                    if error is None:
                        yield futures[future], future.result()
                    elif stopped is None:
                        stopped = error  # those that run finish and are kept first
                        waiting = {other for other in waiting if not other.cancel()}
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        if isinstance(stopped, BrokenProcessPool):
            raise BudgetExceeded(
                "a worker process was killed, most often because memory ran out. What had finished is kept. "
                "Use fewer processes or a smaller batch, and run the same command again."
            ) from stopped
        if stopped is not None:
            raise stopped


def _ignore_interrupt() -> None:
    """Ctrl-C reaches the whole group; the parent decides, and running jobs finish."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _workers(how: str) -> int:
    """0 for this process, else the number of processes."""
    if how == "serial":
        return 0
    if found := re.fullmatch(r"processes:([1-9]\d{0,3})", str(how)):
        return int(found[1])
    if how == "torchrun" or str(how).startswith("ray://"):
        if how != "torchrun":
            try:
                import ray  # noqa: F401
            except ImportError:
                raise MissingExtra.of("ray", "cluster") from None
        raise UsageError(
            f"the engine {how!r} does not spread jobs yet. The serial call works per shard on every machine today: "
            "start it n times with --shard 0/n ... --shard (n-1)/n, in Python engine.shard(items, i, n)."
        )
    raise UsageError(f"no engine {how!r} (serial, processes:N, torchrun, ray://HOST).{nearest(str(how), _KINDS)}")

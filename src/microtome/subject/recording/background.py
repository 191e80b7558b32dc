"""One thread that works through a short queue; what goes wrong there is raised to the caller."""

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """Calls `work(item)` for every item put, in order, in one other thread, at most `waiting` items ahead.

    After an error nothing more is worked on, and the next `put` or `close` raises it.
    """

    def __init__(self, work: Callable[[T], None], waiting: int = 2) -> None:
        self._work, self._error = work, None
        self._queue: queue.Queue[T | None] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._loop, name="microtome-writer", daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Hands an item over; waits while the queue is full."""
        self._raise()
        self._queue.put(item)

    def close(self) -> None:
        """Waits until all is done, ends the thread, and raises what went wrong."""
        self.stop()
        self._raise()

    def stop(self) -> None:
        """As `close`, but keeps errors to itself; for use while another error is on its way."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _loop(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._work(item)
                except BaseException as error:
                    self._error = error

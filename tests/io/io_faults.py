"""Make the n-th call of the write layer fail, as a full or broken disk would."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator

from microtome.io import _os

CALLS = ("open", "write", "fsync", "replace", "ftruncate", "unlink", "makedirs")


class Counter:
    """How many calls were seen, and whether one was made to fail."""

    def __init__(self):
        self.calls, self.failed = 0, []


@contextlib.contextmanager
def failing(
    monkeypatch, n: int, code: int = errno.ENOSPC, *, on: bool = False, short: bool = False
) -> Iterator[Counter]:
    """Inside the block the n-th call (from 1) raises `code`; with `on` all later ones too; `short` writes a part first."""
    counter = Counter()

    def wrap(name: str, real: Callable) -> Callable:
        def call(*args, **kwargs):
            counter.calls += 1
            if counter.calls == n or (on and counter.calls > n):
                counter.failed.append(name)
                if short and name == "write" and len(args[1]) > 1:
                    real(args[0], bytes(args[1])[: len(args[1]) // 2])
                raise OSError(code, os.strerror(code))
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        for name in CALLS:
            patch.setattr(_os, name, wrap(name, getattr(_os, name)))
        yield counter

"""Jobs for the engine's processes: functions at the top level of a module."""

import os
import time
from pathlib import Path


def square(x: int) -> int:
    return x * x


def slow_first(x: int) -> tuple[int, int]:
    time.sleep(0.05 if x == 0 else 0)
    return x, os.getpid()


def write(path: str) -> str:
    """Idempotent: the file's existence is the result."""
    Path(path).write_text("done")
    return path


def fail_at_three(x: int) -> int:
    if x == 3:
        raise KeyError(f"item {x}")
    return x


def die(x: int) -> int:
    if x == 1:
        os._exit(9)
    return x

"""What the figures were measured on."""

import contextlib
import os
import platform
from pathlib import Path


def machine() -> dict[str, str | int]:
    """Processor, cores this process may use, system, Python."""
    return {"processor": _processor(), "cores": _cores(), "system": platform.system(), "python": platform.python_version()}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

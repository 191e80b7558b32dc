"""Resident memory of this process in bytes; where the system does not tell the present value, the peak since the start."""

import contextlib
from pathlib import Path

STATUS = Path("/proc/self/status")


def resident() -> int:
    """Bytes now in memory."""
    return _status("VmRSS") or _most()


def peak() -> int:
    """Most bytes ever in memory.

    Read from /proc, because the counter of getrusage is inherited from the parent process.
    """
    return _status("VmHWM") or _most()


def _status(name: str) -> int:
    with contextlib.suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    return 0


def _most() -> int:
    import resource
    import sys

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024

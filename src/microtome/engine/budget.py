"""How much memory and disk a piece of work may take."""

import os
import re
import shutil
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from microtome.errors import BudgetExceeded, UsageError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
GIB = 2**30


def parse_bytes(text: str | int) -> int:
    """A number of bytes from ``"200GB"``, ``"1.5 GiB"``, ``"512M"`` or a plain int.

    Raises
    ------
    UsageError
        The text is not a size.

    Examples
    --------
    >>> parse_bytes("200GB"), parse_bytes("1.5 GiB"), parse_bytes(64)
    (200000000000, 1610612736, 64)
    """
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", str(text).lower())
    if not isinstance(text, str) or not found or found[2] not in _UNITS:
        raise UsageError(f"{text!r} is not a size. Write a number and a unit, such as '200GB', '1.5GiB' or '512MB'.")
    return int(Decimal(found[1]) * _UNITS[found[2]])  # a float would round large counts


def format_bytes(count: float) -> str:
    """A size that a person can read.

    >>> format_bytes(1_610_612_736)
    '1.6 GB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def available_memory() -> int:
    """Bytes of memory this process can still take: what the system has free, or less where a container limits it."""
    amounts = []
    try:
        with open("/proc/meminfo") as file:
            amounts += [int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:")]
    except OSError:
        pass
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            amounts.append(int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    if not amounts and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        amounts.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    return max(0, min(amounts, default=4 * GIB))


def free_disk(path: str | os.PathLike) -> tuple[int, int]:
    """Bytes free and bytes in all on the disk of `path`, which need not exist yet."""
    place = Path(os.path.abspath(path))
    while not place.exists() and place != place.parent:
        place = place.parent
    usage = shutil.disk_usage(place)
    return usage.free, usage.total


@dataclass(frozen=True)
class Budget:
    """Limits on memory and disk; work that would pass them stops before it starts, or cleanly between two shards.

    Parameters
    ----------
    memory_bytes : int, optional
        Most memory for one piece of work; None: half of what is available when asked.
    disk_bytes : int, optional
        Most bytes that the work may write; None: no limit but the reserve.
    reserve_bytes : int, default 1 GiB
        Space to leave free on the disk.
    reserve_share : float, default 0.05
        The same as a share of the disk; the smaller of the two counts, so that small disks are usable.

    Examples
    --------
    >>> Budget.parse(disk="200GB").disk_bytes
    200000000000
    """

    memory_bytes: int | None = None
    disk_bytes: int | None = None
    reserve_bytes: int = GIB
    reserve_share: float = 0.05

    def __post_init__(self):
        sizes = (self.memory_bytes, self.disk_bytes, self.reserve_bytes)
        if any(size is not None and size < 0 for size in sizes) or not 0 <= self.reserve_share < 1:
            raise UsageError(f"a budget must not be negative, got {self}. Use sizes >= 0 and a share in [0, 1).")

    @classmethod
    def parse(cls, memory: str | int | None = None, disk: str | int | None = None) -> "Budget":
        """A budget from texts such as ``"8GB"``."""
        return cls(None if memory is None else parse_bytes(memory), None if disk is None else parse_bytes(disk))

    @property
    def memory(self) -> int:
        """The memory limit in bytes, measured now when none was set."""
        return available_memory() // 2 if self.memory_bytes is None else self.memory_bytes

    def rows(self, bytes_per_row: float) -> int:
        """How many rows fit the memory limit; at least 1, so that the work can try.

        >>> Budget(memory_bytes=1000).rows(300)
        3
        """
        return max(1, int(self.memory // max(1.0, bytes_per_row)))

    def check_memory(self, need: int, what: str) -> None:
        """Raise BudgetExceeded when `need` bytes for `what` pass the memory limit."""
        if need > self.memory:
            raise BudgetExceeded(
                f"{what} needs about {format_bytes(need)} of memory; the budget is {format_bytes(self.memory)}. "
                "Use fewer sites or rows, record to disk, or raise the memory budget."
            )

    def check_disk(self, path: str | os.PathLike, need: int, what: str, used: int = 0) -> None:
        """Raise BudgetExceeded when `need` more bytes for `what` pass the disk limit or would touch the reserve.

        Call it with the whole estimate before the work, and with the next shard before each shard; `used` is what the
        work has written so far.
        """
        if self.disk_bytes is not None and used + need > self.disk_bytes:
            raise BudgetExceeded(
                f"{what} needs {format_bytes(used + need)} on disk; the budget is {format_bytes(self.disk_bytes)}. "
                "What was written is kept. Use fewer sites or rows, or raise the disk budget, and run it again."
            )
        free, total = free_disk(path)
        reserve = self.reserve(total)
        if free - need < reserve:
            raise BudgetExceeded(
                f"{what} needs {format_bytes(need)} more on the disk of '{os.fspath(path)}', which has "
                f"{format_bytes(free)} free and keeps {format_bytes(reserve)} in reserve. What was written is kept. "
                "Free some space and run it again."
            )

    def reserve(self, total: int) -> int:
        """Bytes to leave free on a disk of `total` bytes."""
        return min(self.reserve_bytes, int(total * self.reserve_share))

"""Room on the disk: a stated budget, and a floor of free space below which nothing more is written."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from microtome.errors import BudgetExceeded
from microtome.subject.recording.display import size_text


@dataclass(frozen=True)
class Room:
    """How much a recording may take.

    Attributes
    ----------
    disk_bytes : int or None
        Most bytes of the recording; None: as much as the disk gives.
    free_bytes, free_share :
        The disk keeps the smaller of these free (defaults 1 GiB, 5%).
    """

    disk_bytes: int | None = None
    free_bytes: int = 1 << 30
    free_share: float = 0.05

    def check_plan(self, folder: Path, total: int, committed: int) -> None:
        """Refuses before anything runs what cannot fit: `total` bytes of which `committed` are written already."""
        if self.disk_bytes is not None and total > self.disk_bytes:
            raise BudgetExceeded(
                f"the recording needs about {size_text(total)}, the budget is {size_text(self.disk_bytes)}. Record fewer "
                "sites or rows, use dtype=torch.bfloat16, or raise the budget."
            )
        self._check_free(folder, max(0, total - committed), "needs about")

    def check_shard(self, folder: Path, done: int, shard: int) -> None:
        """Refuses the next shard of `shard` bytes after `done` bytes."""
        if self.disk_bytes is not None and done + shard > self.disk_bytes:
            raise BudgetExceeded(
                f"the recording would pass its budget: {size_text(done)} written, {size_text(shard)} to come, "
                f"{size_text(self.disk_bytes)} allowed. What was committed is kept; raise the budget to resume."
            )
        self._check_free(folder, shard, "needs another")

    def _check_free(self, folder: Path, need: int, words: str) -> None:
        place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
        disk = shutil.disk_usage(place)
        floor = min(self.free_bytes, int(self.free_share * disk.total))
        if disk.free - need < floor:
            raise BudgetExceeded(
                f"the recording {words} {size_text(need)}, the disk of '{folder}' has {size_text(disk.free)} free, and "
                f"{size_text(floor)} of it stay free. Free some space or choose another folder; committed shards are kept."
            )

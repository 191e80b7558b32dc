"""How work is spread and bounded: engines, shards, budgets of memory and disk, progress. Knows only `microtome.io`."""

from microtome.engine.budget import Budget, available_memory, format_bytes, free_disk, parse_bytes
from microtome.engine.oom import is_out_of_memory, shrink_on_oom
from microtome.engine.pool import Engine, parse_shard, shard
from microtome.engine.progress_bar import progress

__all__ = [
    "Budget",
    "Engine",
    "available_memory",
    "format_bytes",
    "free_disk",
    "is_out_of_memory",
    "parse_bytes",
    "parse_shard",
    "progress",
    "shard",
    "shrink_on_oom",
]

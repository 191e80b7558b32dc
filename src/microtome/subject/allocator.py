"""Freed memory stays with the process, so that activations need not be mapped page by page anew in every forward."""

from functools import cache

import torch

#: Bytes: just below the largest block by which the C library may raise its own limits.
BLOCK = (32 << 20) - (1 << 14)


@cache
def keep_freed_memory() -> None:
    """Let the C library keep up to 64 MiB of freed memory instead of giving it back and asking for it again.

    glibc raises the size from which it maps blocks singly, and twice that as what it keeps, to the largest block that was
    freed so far. Until something large was freed, every temporary of some megabytes is taken from the system and returned,
    and its pages are filled with zeros each time: 0 to 25% of a forward of GPT-2's size, by chance from process to process.
    One block that is asked for and freed without being touched costs nothing and ends this. Where ``MALLOC_*`` variables
    set the limits, and with other allocators, nothing changes. Once per process.
    """
    torch.empty(BLOCK, dtype=torch.uint8)  # freed at once

"""Freed memory is kept: forwards do not map their temporaries anew."""

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource, sys, torch
if sys.argv[1] == "kept":
    from microtome.subject.allocator import keep_freed_memory
    keep_freed_memory()
def chain():  # six megabytes each
    x = torch.ones(3 << 19)
    return [0.5 * x * (1 + torch.tanh(x * x * x)) for _ in range(3)]
for _ in range(3):
    chain()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    chain()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Pages that had to be mapped in twenty chains of operations, in a process of its own."""
    environment = {"OMP_NUM_THREADS": "1", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", COUNT, how], capture_output=True, text=True, check=True, env=environment)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back by these rules")
def test_temporaries_are_not_mapped_again():
    """Some thousands of pages instead of tens of thousands; none to save where the system gives huge ones."""
    assert faults("kept") <= max(1_000, faults("as it is") // 2)


def test_making_a_subject_asks_for_it_once():
    """Later subjects find it done."""
    import torch

    import microtome as mt
    from microtome.subject.allocator import keep_freed_memory

    mt.Subject(torch.nn.Linear(2, 2))
    before = keep_freed_memory.cache_info().misses
    mt.Subject(torch.nn.Linear(2, 2))
    assert keep_freed_memory.cache_info().misses == before

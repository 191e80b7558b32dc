import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import recording_synthetic as synthetic

from microtome.subject.recording import MemoryWriter, Recording

SAMPLES = 25


def in_memory(dtype=None) -> Recording:
    import torch

    dtype = dtype or torch.float32
    writer = MemoryWriter(synthetic.plan(SAMPLES, 7, dtype))
    for lo in range(0, SAMPLES, 4):
        writer.add(*synthetic.batch(range(lo, min(lo + 4, SAMPLES)), dtype))
    return writer.finish(synthetic.table(SAMPLES))


@pytest.fixture(scope="session")
def memory() -> Recording:
    return in_memory()


@pytest.fixture(scope="session", params=[7, 13, 1000])
def both(request, tmp_path_factory, memory) -> tuple[Recording, Recording]:
    """The same rows in memory and in shards of an odd size."""
    folder = tmp_path_factory.mktemp("shards") / "recording"
    return memory, synthetic.write(str(folder), SAMPLES, request.param)

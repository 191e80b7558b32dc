"""A small recording made batch by batch from a seed; also a program that forks writers and kills them."""

import os
import signal
import sys
import time

import numpy as np
import pandas as pd
import torch

from microtome.subject.recording import Plan, ShardWriter

SHAPES = {"blocks.0.mlp.out": (3,), "blocks.1.attn.z": (2, 2)}
AXES = {"blocks.1.attn.z": ("head", "unit")}


def sample(number: int, dtype: torch.dtype = torch.float32) -> tuple[dict, dict, dict]:
    """Values, index and labels of one sample of 1 to 6 positions; a function of its number only."""
    rng = np.random.default_rng(1000 + number)
    rows = int(rng.integers(1, 7))
    values = {name: torch.from_numpy(rng.normal(size=(rows, *shape))).to(dtype) for name, shape in SHAPES.items()}
    tokens = [f"w{int(i)}é" for i in rng.integers(0, 20, rows)]
    index = {"sample": np.full(rows, number), "position": np.arange(rows), "token": tokens}
    return values, index, {"noun": rng.random(rows) < 0.4, "verb": rng.random(rows) < 0.2}


def batch(numbers: range, dtype: torch.dtype = torch.float32) -> tuple[dict, dict, dict]:
    """Several samples, one after another."""
    parts = [sample(number, dtype) for number in numbers]
    values = {name: torch.cat([part[0][name] for part in parts]) for name in SHAPES}
    index, labels = ({k: np.concatenate([part[i][k] for part in parts]) for k in parts[0][i]} for i in (1, 2))
    return values, index, labels


def table(samples: int) -> pd.DataFrame:
    """Three samples make a document."""
    return pd.DataFrame({"document": [f"d{i // 3}" for i in range(samples)], "length": np.arange(samples) * 0.5})


def plan(samples: int, shard_rows: int, dtype: torch.dtype = torch.float32, data: str = "seeded") -> Plan:
    rows = sum(len(sample(i)[1]["sample"]) for i in range(samples))
    found = {"subject": "none", "data": data}
    return Plan.of(SHAPES, rows=rows, dtype=dtype, axes=AXES, shard_rows=shard_rows, provenance=found)


def write(folder: str, samples: int, shard_rows: int, per_batch: int = 4, dtype: torch.dtype = torch.float32):
    """Writes, or goes on writing, the recording of `samples` samples."""
    with ShardWriter(folder, plan(samples, shard_rows, dtype)) as writer:
        if not writer.finished:
            start = writer.next_sample // per_batch * per_batch
            for lo in range(start, samples, per_batch):
                writer.add(*batch(range(lo, min(lo + per_batch, samples)), dtype))
        return writer.finish(table(samples))


def write_and_kill(folder: str, seconds: float, samples: int, shard_rows: int, per_batch: int) -> int:
    """Writes in a child process that gets SIGKILL after `seconds`; 0 if it had finished, 9 if it was killed."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            write(folder, samples, shard_rows, per_batch)
            code = 0
        finally:
            os._exit(code)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)  # until waitpid the number is still the child's
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in sys.stdin:
        folder, seconds, *sizes = line.split("\t")
        sys.stdout.write(f"{write_and_kill(folder, float(seconds), *map(int, sizes))}\n")
        sys.stdout.flush()

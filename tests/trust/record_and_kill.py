"""A small recording through a subject; as a program, it forks writers and kills them after the seconds it is told."""

import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "subject"))

import torch
from subject_slow import language

from microtome.subject.recording import plan

SITES, SAMPLES, BATCH = ["blocks.0.resid_post", "blocks.1.attn.z"], 40, 4


def world():
    """A subject and token rows of many lengths."""
    return language("llama", "right", lengths=[3 + (7 * i) % 11 for i in range(SAMPLES)])


def write(subject, inputs, folder, rows=None):
    """The recording in small shards (many commits); whole in memory where there is no folder."""
    plan.SHARD_BYTES = 4000
    return subject.record(inputs, SITES, batch=BATCH, to=folder)


if __name__ == "__main__":
    torch.set_num_threads(1)
    subject, inputs = world()
    for line in sys.stdin:
        folder, seconds = line.rstrip("\n").split("\t")
        pid = os.fork()
        if not pid:
            code = 1
            try:
                write(subject, inputs, folder)
                code = 0
            finally:
                os._exit(code)
        time.sleep(float(seconds))
        os.kill(pid, signal.SIGKILL)  # until waitpid the number is still the child's
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n")
        sys.stdout.flush()

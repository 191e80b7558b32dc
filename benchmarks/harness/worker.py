"""The process of one side: prepares the work, then makes a timed call whenever it is told to.

Runs in the environment of microtome or of the peers, so it needs only the standard library, numpy and torch. Orders come
as lines on stdin (`once`, `outputs PATH`, `end`), answers go as JSON lines to the original stdout.
"""

import importlib
import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import memory

LIBRARIES = ("torch", "transformers", "microtome", "transformer-lens", "nnsight", "auto-circuit", "sae-lens",
             "dictionary-learning", "pyvene", "overcomplete", "captum", "zennit", "shap", "pytorch-grad-cam",
             "quantus", "torchcam", "inseq")  # fmt: skip
#: Where a library is listed under another name.
LISTED = {"pytorch-grad-cam": "grad-cam"}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not mix with the answers

    def answer(**values) -> None:
        answers.write(json.dumps(values) + "\n")

    order = json.loads(sys.stdin.readline())
    try:
        work = prepare(order)
    except ModuleNotFoundError as error:
        answer(missing=str(error.name))
        return
    answer(units=work.units, note=work.note, resident=memory.resident(), versions=versions())
    result, most, compared = None, 0, False
    for line in sys.stdin:
        what, _, path = line.strip().partition(" ")
        if what == "once":
            if result is not None and work.after:
                work.after(result)
            result = None
            wall, cpu = time.perf_counter(), time.process_time()
            result = work.call()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            most = most if compared else max(most, memory.peak())
            usage = work.usage(result) if work.usage else None
            answer(wall=wall, cpu=usage.cpu if usage else cpu, peak=usage.peak if usage else most)
        elif what == "outputs":
            import numpy as np

            np.savez(path, **work.outputs(result))
            compared = True  # what the comparison took must not count: the peak is that of the calls before it
            answer(saved=path)
        else:
            if result is not None and work.after:
                work.after(result)
            return


def prepare(order: dict):
    """The side's `Work`, with the number of threads set."""
    module, _, function = order["work"].partition(":")
    side = importlib.import_module(f"sides.{module}")
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(order["threads"])
        torch.manual_seed(0)
    return getattr(side, function)(order["settings"])


def versions() -> dict:
    """Versions of the libraries that this process has loaded."""
    found = {}
    for name in LIBRARIES:
        if name.replace("-", "_") in sys.modules:
            try:
                found[name] = importlib.metadata.version(LISTED.get(name, name))
            except importlib.metadata.PackageNotFoundError:
                found[name] = "source"
    return found


if __name__ == "__main__":
    main()

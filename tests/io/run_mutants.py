"""Run by test_io_hostile in a process of its own, so that peak memory and time are of the readers alone."""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from io_mutants import READERS, mutants, specials

from microtome.errors import FormatError


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(count: int) -> dict:
    folder = Path(tempfile.mkdtemp(dir=sys.argv[2]))
    wrong, accepted, refused, slowest, largest = [], 0, 0, 0.0, 0
    cases = [(f"mutant {i}", suffix, data, False) for i, (suffix, data) in enumerate(mutants(folder, count))]
    cases += [(what, suffix, data, True) for what, suffix, data in specials()]
    for what, suffix, data, must_fail in cases:
        path = folder / f"case.{suffix}"
        path.write_bytes(data)
        before, start = peak(), time.process_time()
        try:
            READERS[suffix](path)
            accepted += 1
            if must_fail:
                wrong.append([what, suffix, "accepted"])
        except FormatError as error:
            refused += 1
            if str(path) not in str(error) or len(str(error)) > 600:
                wrong.append([what, suffix, f"message: {error}"[:300]])
        except BaseException as error:
            wrong.append([what, suffix, f"{type(error).__name__}: {error}"[:300]])
        slowest = max(slowest, time.process_time() - start)
        largest = max(largest, peak() - before)
    return {
        "cases": len(cases),
        "accepted": accepted,
        "refused": refused,
        "wrong": wrong,
        "slowest": slowest,
        "largest": largest,
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))  # noqa: T201

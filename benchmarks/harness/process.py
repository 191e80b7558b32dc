"""Start and command the worker process of a side."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness.description import Side

HERE = Path(__file__).resolve().parents[1]
INSTALL = "not measured: install with make bench"


class NotMeasured(Exception):
    """The side cannot run here; the message is what its row says."""


class Failed(NotMeasured):
    """The side broke."""


def interpreter(peer: bool, own: str = "") -> Path:
    """The Python of microtome (the current one) or of the peers (`.venv-peers`, or the one MICROTOME_PEERS names).

    `own` names a peer's own environment, which stands beside the others under the same name with `own` behind it.
    """
    if not peer:
        return Path(sys.executable)
    root = Path(os.environ.get("MICROTOME_PEERS") or HERE.parent / ".venv-peers")
    return (root.with_name(f"{root.name}-{own}") if own else root) / "bin" / "python"


def environment(threads: int) -> dict[str, str]:
    """The same variables for every side: threads pinned, no network, no progress bars."""
    counts = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}
    source = str(HERE.parent / "src")
    paths = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    return {**os.environ, **counts, **quiet, "PYTHONPATH": paths}


class Worker:
    """A side in a process of its own, ready to be called.

    Raises
    ------
    NotMeasured
        Its environment or its library is missing, or it failed.
    """

    def __init__(self, side: Side, settings: dict[str, Any], threads: int) -> None:
        python = interpreter(side.peer, side.environment)
        if not python.exists():
            raise NotMeasured(INSTALL)
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [str(python), str(HERE / "harness" / "worker.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=environment(threads),
        )  # fmt: skip
        order = {"work": side.work, "settings": {**settings, **side.settings}, "threads": threads}
        self.about = self._ask(json.dumps(order))
        if "missing" in self.about:
            self.close()
            ours = f"failed: no module {self.about['missing']}"
            raise NotMeasured(INSTALL) if side.peer else Failed(ours)

    def once(self) -> dict[str, float]:
        """One timed call: wall and CPU seconds, peak bytes so far."""
        return self._ask("once")

    def outputs(self, path: Path) -> None:
        """Save the outputs of the latest call."""
        self._ask(f"outputs {path}")

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr]
        self._errors.close()

    def _ask(self, line: str) -> dict[str, Any]:
        with contextlib.suppress(OSError):
            self._process.stdin.write(line + "\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
        reply = self._process.stdout.readline()  # type: ignore[union-attr]
        if reply:
            return json.loads(reply)
        self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().strip().splitlines() or ["no message"]
        sys.stderr.write("\n".join(said[-30:]) + "\n")
        self.close()
        raise Failed(f"failed: {said[-1][:200]}")

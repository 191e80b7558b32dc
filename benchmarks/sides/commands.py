"""Whole commands of microtome, each a process of its own."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from harness.work import Usage, Work


class Done(NamedTuple):
    """What the system says of a process that has ended."""

    cpu: float
    peak: int
    folder: tempfile.TemporaryDirectory


def study(settings: dict) -> Work:
    """``microtome study SUBJECT`` into a new folder."""
    return _command(["-m", "microtome", "study", settings["subject"], "--out", "{folder}/study"])


def imported(settings: dict) -> Work:
    """``import microtome`` in a new interpreter, its start included."""
    return _command(["-c", "import microtome"])


def interpreter(settings: dict) -> Work:
    """A new interpreter that imports torch: what nobody can take away."""
    return _command(["-c", "import torch"])


def shown_help(settings: dict) -> Work:
    """``microtome --help``."""
    return _command(["-m", "microtome", "--help"])


def _command(arguments: list[str]) -> Work:
    def call() -> Done:
        folder = tempfile.TemporaryDirectory(prefix="microtome-bench-")
        filled = [a.replace("{folder}", folder.name) for a in arguments]
        with open(Path(folder.name) / "said", "w+") as said:
            process = subprocess.Popen([sys.executable, *filled], stdout=said, stderr=said, cwd=folder.name)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                said.seek(0)
                raise RuntimeError(f"exit code {process.returncode}: {said.read()[-500:]}")
        scale = 1 if sys.platform == "darwin" else 1024
        return Done(used.ru_utime + used.ru_stime, used.ru_maxrss * scale, folder)

    return Work(call, lambda _: {}, usage=lambda done: Usage(done.cpu, done.peak), after=lambda done: done.folder.cleanup())

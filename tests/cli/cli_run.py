"""Runs of the command line in this process, and in one of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from microtome.cli import app

ROOT = Path(__file__).resolve().parents[2]


def cli(*arguments: object) -> Result:
    """Run a command here; standard output and standard error are kept apart."""
    return CliRunner().invoke(app, [str(a) for a in arguments])


def document(*arguments: object) -> dict[str, Any]:
    """The JSON document of a command that succeeds."""
    result = cli(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout, parse_constant=lambda word: 1 / 0)


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``python -m microtome`` as a user runs it."""
    known = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    known |= {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "COLUMNS": "100", **environment}
    return subprocess.run(
        [sys.executable, "-m", "microtome", *arguments], env=known, capture_output=True, text=True, timeout=900, check=False
    )

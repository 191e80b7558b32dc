"""``microtome bench``: speed and quality beside the peers."""

import os
from pathlib import Path
from typing import Annotated

import typer

from microtome.cli.answer import Answer
from microtome.cli.command import command, keeps


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "bench", examples=("microtome bench", "microtome bench -- sweep_layer_head"))(bench)


def bench(
    arguments: Annotated[list[str] | None, typer.Argument(help="Passed to benchmarks/run.py, after --.")] = None,
) -> Answer:
    """Run the benchmarks of a source checkout (benchmarks/run.py), each beside its peers; exit code 1 when one fails.

    The folder is the one beside src, or the one that MICROTOME_BENCHMARKS names.
    """
    import subprocess
    import sys

    script = benchmarks() / "run.py"
    with keeps("finished benchmarks are in benchmarks/results; run the others by name."):
        done = subprocess.run([sys.executable, str(script), *(arguments or [])], stdout=subprocess.PIPE, text=True, check=False)
    lines = done.stdout.rstrip("\n").split("\n") if done.stdout.strip() else []
    return Answer({"script": str(script), "exit_code": done.returncode, "output": lines}, lines, int(done.returncode != 0))


def benchmarks() -> Path:
    """The folder of benchmarks.

    Raises
    ------
    UsageError
        When there is none: benchmarks are not part of the installed package.
    """
    from microtome.errors import UsageError

    beside = Path(__file__).resolve().parents[3] / "benchmarks"
    chosen = Path(os.environ.get("MICROTOME_BENCHMARKS") or beside)
    if not (chosen / "run.py").is_file():
        raise UsageError(
            f"no run.py in '{chosen}'. Benchmarks run from a source checkout; name its folder in MICROTOME_BENCHMARKS."
        )
    return chosen

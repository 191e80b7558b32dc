"""Remake the trained organisms: ``python -m microtome.organisms.train [NAME...]`` (``make organisms`` runs it)."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from microtome.errors import MicrotomeError, UsageError
from microtome.organisms import registry, shelf
from microtome.organisms.fit import parameters


def remake(name: str, out: Path | str | None = None, *, seed: int = 0) -> dict[str, Any]:
    """Train the organism `name` from scratch and write weights, configuration and figures.

    Parameters
    ----------
    name : one of `registry.TRAINED`; compiled organisms have nothing to train.
    out : folder to write to; default the folder the package loads from.
    seed : the shipped weights are seed 0. One thread gives the same bytes on one kind of processor.

    Returns
    -------
    The figures: what it reached, number of parameters, seconds.

    Raises
    ------
    UsageError
        Unknown name, a compiled organism, or the language organism (which has a program of its own).
    """
    room = registry.source(name)
    if name == registry.LANGUAGE:
        raise UsageError("the language organism takes hours; remake it with: python -m microtome.organisms.language --out DIR")
    if name not in registry.TRAINED:
        raise UsageError(f"organism {name!r} is written by construction: there is nothing to train.")
    start = time.perf_counter()
    module, config, figures = room.train(seed)
    seconds = round(time.perf_counter() - start, 1)
    figures = {**figures, "parameters": parameters(module), "seconds": seconds, "seed": seed}
    shelf.save(Path(out) if out is not None else shelf.folder(name), module, config, figures)
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Remake the named organisms (all trained ones when none is named), in this process, one after the other."""
    wanted = list(sys.argv[1:] if arguments is None else arguments) or list(registry.TRAINED)
    try:
        for name in wanted:
            figures = remake(name)
            sys.stdout.write(f"{name}: " + ", ".join(f"{key} {value}" for key, value in figures.items()) + "\n")
            sys.stdout.flush()
    except MicrotomeError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

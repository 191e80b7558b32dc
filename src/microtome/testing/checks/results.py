"""Checks 13 and 17: what comes back can be kept and shown, and costs what it says."""

import contextlib
import importlib
import io
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from microtome.testing.case import Case
from microtome.testing.digest import digest
from microtome.testing.planted import matrix_read
from microtome.testing.report import Failed

SECONDS = 2.0


def save_load(case: Case) -> None:
    """Check 13: the result is the noun its record names, prints nothing, shows itself, and survives save and load."""
    heard = io.StringIO()
    with contextlib.redirect_stdout(heard):
        world = case.world()
        result = case.run(world)
        shown = f"{result!r}{result!s}"
    if heard.getvalue():
        raise Failed(f"the call prints on stdout: {heard.getvalue()[:80]!r}")
    gives = case.method.gives
    ancestors = {c.__name__ for c in type(result).__mro__}
    if not any(name in gives for name in ancestors) and not _is_basis(result, gives):
        raise Failed(f"gives {gives}, returned a {type(result).__name__}")
    if " object at 0x" in shown:
        raise Failed("the result has no printed form of its own")
    x = matrix_read(world.given["recording"], result) if "recording" in case.data else None
    _round_trip(result, x)


def _is_basis(result: Any, gives: str) -> bool:
    return "Basis" in gives and all(hasattr(result, name) for name in ("encode", "decode", "dim", "site"))


def _round_trip(result: Any, x: torch.Tensor | None) -> None:
    """Through JSON or a folder and back; a basis must also encode and decode `x` to the last bit as before."""
    if not hasattr(result, "to_json") and not hasattr(result, "save") and hasattr(result, "finding"):
        result = result.finding()
    if hasattr(result, "to_json"):
        stored = result.to_json()
        text = stored if isinstance(stored, str) else json.dumps(stored, allow_nan=False)
        again = type(result).from_json(json.loads(text) if not isinstance(stored, str) else text)
        second = again.to_json()
        if (second if isinstance(second, str) else json.dumps(second, allow_nan=False)) != text:
            raise Failed("to_json -> from_json -> to_json is not the same")
        return
    if not hasattr(result, "save"):
        raise Failed("the result has neither to_json/from_json nor save/load, nor a finding() that has")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "result"
        result.save(place)
        again = _load(result, place)
        if digest(_core(again, x)) != digest(_core(result, x)):
            raise Failed("save -> load gives another object")


def _load(result: Any, place: Path) -> Any:
    if hasattr(type(result), "load"):
        return type(result).load(place)
    if hasattr(result, "encode"):
        return importlib.import_module("microtome.subject.basis").load_basis(place)
    raise Failed("the result can be saved, but nothing loads it")


def _core(value: Any, x: torch.Tensor | None) -> Any:
    """What must survive: what a basis says of itself and what it does, else the whole object."""
    if x is None or not hasattr(value, "encode"):
        return value
    with torch.no_grad():
        z = value.encode(x)
        return [value.fingerprint, value.site, value.names, value.directions, z, value.decode(z)]


def cost(case: Case) -> None:
    """Check 17: with its tiny settings the method takes under two seconds of processor time per thread."""
    world, _ = case.usual  # the first call of a process also pays for imports
    times = []
    for _ in range(2):
        started = time.thread_time()
        case.run(world)
        times.append(time.thread_time() - started)
        if times[-1] < SECONDS:
            return
    raise Failed(f"tiny settings take {min(times):.1f} s of processor time, at most {SECONDS:.0f} s are allowed")

"""Checks 14, 15, 16: the wrong thing is refused by name, with the way out."""

import builtins
import re
import sys
from typing import Any

from microtome.errors import MicrotomeError, MissingExtra
from microtome.testing.case import Case, Refusal
from microtome.testing.report import Failed, Skip


def refusals(case: Case) -> None:
    """Check 15: each row of the family's refusals raises its error with its message."""
    rows = case.family.refusals(case.method)
    if not rows:
        raise Skip("the family refuses nothing that this method takes")
    for row in rows:
        _refused(case, row)


def wrong_subject(case: Case) -> None:
    """Check 14: a recording, basis or site of another subject is refused."""
    make = getattr(case.family, "strangers", None)
    rows = make(case.method) if make else []
    if not rows:
        raise Skip("takes no second noun that could belong to another subject")
    for row in rows:
        _refused(case, row)


def _refused(case: Case, row: Refusal) -> None:
    try:
        result = case.run(case.world(), row.given)
        if row.use is not None:
            row.use(result)
    except row.error as error:
        if not re.search(row.pattern, str(error)):
            raise Failed(f"{row.description}: the message lacks {row.pattern!r}: {error}") from error
    except Failed:
        raise
    except Exception as error:
        expected = row.error.__name__
        raise Failed(f"{row.description}: {type(error).__name__} ({str(error)[:150]}), expected {expected}") from error
    else:
        raise Failed(f"{row.description}: accepted, expected {row.error.__name__}")


def extra(case: Case) -> None:
    """Check 16: without its optional package the method raises `MissingExtra` with the install command."""
    names = [need.partition(":")[2] for need in case.method.needs if need.startswith("extra:")]
    if not names:
        raise Skip("needs no extra")
    with _Without(names):
        try:
            case.run(case.world())
        except MissingExtra as error:
            if "pip install" not in str(error):
                raise Failed(f"MissingExtra without the install command: {error}") from error
            return
        except MicrotomeError as error:
            raise Failed(f"{type(error).__name__} instead of MissingExtra") from error
    raise Failed(f"ran although {', '.join(names)} could not be imported")


class _Without:
    """Imports of the packages of the named extras fail inside."""

    def __init__(self, extras: list[str]):
        from importlib import metadata

        wanted = metadata.requires("microtome") or []
        marks = [f"extra == '{name}'" for name in extras] + [f'extra == "{name}"' for name in extras]
        rows = [row for row in wanted if any(mark in row for mark in marks)]
        self.packages = {re.split(r"[^\w.-]", row)[0].replace("-", "_").lower() for row in rows}

    def __enter__(self) -> None:
        self.kept, self.real = {}, builtins.__import__
        for name in [n for n in sys.modules if n.partition(".")[0].lower() in self.packages]:
            self.kept[name] = sys.modules.pop(name)

        def absent(name: str, *rest: Any, **more: Any) -> Any:
            if name.partition(".")[0].lower() in self.packages:
                raise ImportError(f"No module named {name!r}", name=name)
            return self.real(name, *rest, **more)

        builtins.__import__ = absent

    def __exit__(self, *_: object) -> None:
        builtins.__import__ = self.real
        sys.modules.update(self.kept)

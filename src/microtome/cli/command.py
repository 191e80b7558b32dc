"""How a function becomes a command: shared options, one answer, typed errors as one line and an exit code."""

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from microtome.cli.answer import SCHEMA, Answer
from microtome.cli.streams import fail, guarded, show

INTERRUPTED = 130
Work = Callable[..., Answer]

_SHARED = {
    "json": Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")],
    "quiet": Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes on standard error.")],
    "debug": Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")],
}


class Stopped(Exception):
    """Ctrl-C, with what is kept and how to go on."""


@contextlib.contextmanager
def keeps(text: str) -> Iterator[None]:
    """Work that may be stopped: `text` says what is kept then, and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(text) from None


def command(app: typer.Typer, name: str, *, examples: Sequence[str], **settings: Any) -> Callable[[Work], Work]:
    """Register a function that returns an `Answer` as the command `name`; it stays a plain function for its callers.

    Parameters
    ----------
    app : Typer
    name : str
    examples : sequence of str
        Shown at the end of ``--help``.
    **settings
        Passed to ``Typer.command``.
    """

    def attach(work: Work) -> Work:
        @functools.wraps(work)
        def run(*, json: bool, quiet: bool, debug: bool, **given: Any) -> None:
            code = _run(name, work, given, json, quiet, debug)
            if code:
                raise typer.Exit(code)

        del run.__wrapped__  # type: ignore[attr-defined]  # typer would read the signature of the work
        signature = inspect.signature(work)
        shared = [inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=v) for k, v in _SHARED.items()]
        own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values()]
        run.__signature__ = signature.replace(parameters=[*own, *shared], return_annotation=None)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in [*own, *shared]}
        epilog = "\n\n".join(["Example:" if len(examples) == 1 else "Examples:", *examples])
        app.command(name, help=inspect.getdoc(work), epilog=epilog, **settings)(run)
        return work

    return attach


def _run(name: str, work: Work, given: dict[str, Any], json: bool, quiet: bool, debug: bool) -> int:
    """Run the work, print its answer or its error, and give the exit code."""
    from microtome.errors import MicrotomeError

    try:
        with guarded(quiet):
            answer = work(**given)
            text = _document(name, answer) if json else ""
    except Stopped as stop:
        fail("stopped", str(stop))
        return INTERRUPTED
    except KeyboardInterrupt:
        fail("stopped", "nothing was kept; run the command again.")
        return INTERRUPTED
    except MicrotomeError as error:
        fail("error", str(error))
        _trace(debug)
        return error.exit_code
    except BrokenPipeError:
        raise  # the reader has gone; typer ends quietly
    except Exception as error:
        kind = "" if isinstance(error, OSError) else f"{type(error).__name__}: "
        hint = "" if debug or isinstance(error, OSError) else " (this is a fault of microtome; --debug shows where)"
        fail("error", f"{kind}{error}{hint}")
        _trace(debug)
        return 1
    if json:
        sys.stdout.write(text + "\n")
    else:
        show(answer.shown)
    return answer.code


def _document(name: str, answer: Answer) -> str:
    from microtome import __version__
    from microtome.cli.plain import document

    return document({"schema": SCHEMA, "command": name, "version": __version__, **answer.data})


def _trace(debug: bool) -> None:
    if debug:
        import traceback

        from microtome.io import escape_terminal, redact

        sys.stderr.write(escape_terminal(redact(traceback.format_exc())))


class Root(TyperGroup):
    """All commands. A name may have two words (``study verify`` beside ``study SUBJECT``); usage errors are one line."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of registration."""
        return list(self.commands)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The longest name that the arguments begin with."""
        pair = " ".join(args[:2])
        if len(args) > 1 and pair in self.commands:
            return pair, self.commands[pair], args[2:]
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """First words only; the second is completed by the command of the first."""
        return [item for item in super().shell_complete(ctx, incomplete) if " " not in item.value]

    def main(self, *args: Any, standalone_mode: bool = True, **settings: Any) -> Any:
        """Run; a usage error is printed as one line, without secrets that an argument may hold."""
        try:
            code = super().main(*args, standalone_mode=False, **settings)
        except Exception as error:
            if not hasattr(error, "format_message"):  # what the parser raises; its class moves between versions of typer
                raise
            message = error.format_message()
            if message:  # it is empty where help was printed because nothing was asked
                where = getattr(getattr(error, "ctx", None), "command_path", "microtome")
                fail("error", f"{message.rstrip(chr(46))}. Try: {where} --help")
            code = getattr(error, "exit_code", 2)
        if standalone_mode:
            sys.exit(code if isinstance(code, int) else 0)
        return code

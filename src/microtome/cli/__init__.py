"""The command line: one command per verb. Heavy libraries are loaded inside the commands, so that help is quick."""

from typing import Annotated

import typer

from microtome.cli import (
    attribute,
    bench,
    decompose,
    describe,
    dictionaries,
    doctor,
    methods,
    organisms,
    record,
    replicate,
    search,
    study,
    trace,
    visualise,
)
from microtome.cli.command import Root

__all__ = ["app", "main"]

app = typer.Typer(
    name="microtome",
    cls=Root,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="A laboratory for neural networks. Point it at a network and a behaviour: it tells what inside causes it, and how "
    "likely it would have said the same of a network that learned nothing.",
    epilog="Start with: microtome study\n\nExit codes: 0 ok, 1 a check or the work failed, 2 usage, 3 refused for safety, "
    "4 over budget, 130 stopped.",
)
for part in (
    study, record, decompose, dictionaries, describe, search, attribute, visualise, trace, methods, replicate, organisms, bench,
    doctor,
):  # fmt: skip
    part.register(app)


def _version(asked: bool) -> None:
    if asked:
        from microtome import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version.")] = False,
) -> None:
    """The options of all commands together."""


def main() -> None:
    """Run the command line and leave with its exit code."""
    app(prog_name="microtome")

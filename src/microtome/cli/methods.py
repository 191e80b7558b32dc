"""``microtome methods``: what there is, and what each may claim."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from microtome.cli.answer import Answer, Grid
from microtome.cli.command import command

if TYPE_CHECKING:
    from microtome.method import Method


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "methods", examples=(
        "microtome methods",
        "microtome methods sparse autoencoder",
        "microtome methods Grad-CAM++",
        "microtome methods --question trace",
        "microtome methods show topk_sae",
    ))(methods)  # fmt: skip
    command(app, "methods show", examples=("microtome methods show topk_sae",))(show)


def methods(
    text: Annotated[list[str] | None, typer.Argument(help="Words that the record must hold: topic, author, year.")] = None,
    question: Annotated[
        str | None, typer.Option("--question", help="decompose, read, search, describe, attribute, trace, evidence.")
    ] = None,
) -> Answer:
    """List the methods whose record holds the given words, best first; all when none are given."""
    from microtome.errors import UsageError, nearest
    from microtome.method import QUESTIONS
    from microtome.methods import find

    if question is not None and question not in QUESTIONS:
        raise UsageError(f"no question {question!r}; it is one of {', '.join(QUESTIONS)}.{nearest(question, QUESTIONS)}")
    found = find(" ".join(text or []), question=question)
    rows = [[_call(m, " ".join(text or [])), m.summary, f"{m.paper.authors} {m.paper.year}"] for m in found]
    count = f"{len(found)} methods." if found else "No method matches; fewer or other words?"
    return Answer({"methods": [_record(m) for m in found]}, [Grid(["method", "what it does", "paper"], rows), count])


def show(key: Annotated[str, typer.Argument(help="Name in the list, e.g. topk_sae or mt.decompose.topk_sae.")]) -> Answer:
    """Show one method: its record, its options, and the whole documentation."""
    import inspect

    from microtome.methods import get

    found = get(key)
    record = _record(found)
    rows = [[name, ", ".join(value) if isinstance(value, list) else value] for name, value in record.items()]
    text = inspect.getdoc(found.function) or ""
    signature = f"{found.call}{inspect.signature(found.function)}"  # type: ignore[arg-type]
    return Answer({"method": {**record, "signature": signature, "doc": text}}, [signature, Grid(["", ""], rows), text])


def _call(found: "Method", asked: str) -> str:
    """The call; with the options that the asked name implies, where it is a usual name of the method."""
    from microtome.aliases import ALIASES, plain

    alias = ALIASES.get(plain(asked))
    if alias is None or alias.key != found.key or not alias.settings:
        return found.call
    return f"{found.call}({', '.join(f'{k}={v!r}' for k, v in alias.settings.items())})"


def _record(found: "Method") -> dict[str, Any]:
    from microtome.aliases import names_of

    return {
        "key": found.key, "call": found.call, "also_called": names_of(found.key), "question": found.question,
        "summary": found.summary, "paper": str(found.paper),
        "needs": list(found.needs), "gives": found.gives, "stochastic": found.stochastic, "cost": found.cost,
        "claim": found.claim, "notion": found.notion, "serves": found.serves, "cannot_claim": found.cannot_claim,
    }  # fmt: skip

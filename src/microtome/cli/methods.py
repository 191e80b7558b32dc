"""``microtome methods``: what there is, and what each may claim."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from microtome.cli.answer import Answer, Grid
from microtome.cli.command import command

if TYPE_CHECKING:
    from microtome.method import Method
    from microtome.papers import Tool


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
    """List the methods whose record holds the given words, best first; all when none are given.

    A usual name (saliency) and the key of a paper in the ledger (binding_id) find what answers them.
    """
    from microtome.errors import UsageError, nearest
    from microtome.method import QUESTIONS
    from microtome.methods import find

    if question is not None and question not in QUESTIONS:
        raise UsageError(f"no question {question!r}; it is one of {', '.join(QUESTIONS)}.{nearest(question, QUESTIONS)}")
    asked = " ".join(text or [])
    found, tools = find(asked, question=question), _tools(asked)
    rows = [[_call(m, asked), m.summary, f"{m.paper.authors} {m.paper.year}"] for m in found]
    rows = [*rows, *([tool.call, tool.summary, ""] for tool in tools)]
    count = f"{len(found)} methods." if rows else "No method matches; fewer or other words?"
    count += f" {len(tools)} without a record of their own; see: microtome methods show {asked}" if tools else ""
    data = {"methods": [_record(m) for m in found], "functions": [{"call": t.call, "summary": t.summary} for t in tools]}
    return Answer(data, [Grid(["method", "what it does", "paper"], rows), count])


def show(
    key: Annotated[
        str, typer.Argument(help="Name in the list, e.g. topk_sae or mt.decompose.topk_sae, or a key of the ledger.")
    ],
) -> Answer:
    """Show one method: its record, its options, and the whole documentation."""
    import inspect

    from microtome.methods import get
    from microtome.papers import Tool, answers

    first, *others = answers(key) or [None]
    more = [f"The paper {key} also asks for {', '.join(found.call for found in others if found)}."] if others else []
    if isinstance(first, Tool):
        text = inspect.getdoc(first.function) or ""
        signature = f"{first.call}{inspect.signature(first.function)}"
        about = {"call": first.call, "summary": first.summary, "signature": signature, "doc": text}
        return Answer({"function": about}, [signature, "Public, without a record in the list of methods.", *more, text])
    found = get(key)
    record = _record(found)
    rows = [[name, ", ".join(value) if isinstance(value, list) else value] for name, value in record.items()]
    text = inspect.getdoc(found.function) or ""
    signature = f"{found.call}{inspect.signature(found.function)}"  # type: ignore[arg-type]
    return Answer({"method": {**record, "signature": signature, "doc": text}}, [signature, Grid(["", ""], rows), *more, text])


def _tools(asked: str) -> "list[Tool]":
    """What answers a paper of the ledger and has no record."""
    from microtome.papers import Tool, answers

    return [found for found in answers(asked) if isinstance(found, Tool)]


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

"""``microtome attribute``: which parts of the input an answer rests on."""

from pathlib import Path
from typing import Annotated, Any

import typer

from microtome.cli import given, options
from microtome.cli.answer import Answer, Grid, findings_grid, findings_json
from microtome.cli.attribute_evaluate import evaluate
from microtome.cli.command import command

#: Prompts of which the largest attributions are shown, and how many of each.
PROMPTS, LARGEST = 5, 4


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "attribute", examples=(
        "microtome attribute organism:vision-cnn --task classify --method gradient",
        "microtome attribute organism:language --task ioi --method integrated_gradients --json",
        "microtome attribute evaluate organism:vision-cnn --method gradient --method occlusion --measure deletion",
    ))(attribute)  # fmt: skip
    command(app, "attribute evaluate", examples=(
        "microtome attribute evaluate organism:vision-cnn --method gradient --method occlusion --measure deletion",
        "microtome attribute evaluate organism:language --task ioi --axioms",
    ))(evaluate)  # fmt: skip


def attribute(
    subject: options.Subject,
    task: Annotated[str | None, typer.Option("--task", "-t", help="Name of a task of the subject, or a file of pairs.")] = None,
    method: Annotated[str, typer.Option("--method", "-m", help="See: microtome methods attribute")] = "integrated_gradients",
    at: Annotated[str | None, typer.Option("--at", help="Site to attribute to. Default: the input.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Another option of the method; repeat for several.")
    ] = None,
    metric: options.Metric = None,
    prompts: options.Prompts = 32,
    draws: Annotated[int, typer.Option("--draws", min=1, help="Random deletions of the null.")] = 39,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File (.safetensors) to save the attributions to.")] = None,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
) -> Answer:
    """Attribute the answers of a task to the input, and test by deletion whether the places named matter.

    Open a saved one with mt.attribute.Attribution.load(file).
    """
    from microtome.attribute import deletion_test

    chosen = given.method("attribute", method, "Attribution")
    asked = given.options(chosen, {**given.settings(set_ or []), "at": at, "metric": metric})
    network = given.subject(subject, device)
    shown = given.task(network, task, seed, prompts)
    found = chosen.function(network, shown, **asked)  # type: ignore[misc]
    finding = deletion_test(network, shown, found, draws=draws, seed=seed)
    if out is not None:
        found.save(out)
    missed = found.relative_residual
    about = {
        "method": found.method, "site": found.site, "axes": found.axes, "shape": list(found.values.shape), "options": asked,
        "evaluations": found.evaluations, "by_position": found.by_position(),
        "completeness_missed": None if missed is None else float(missed.median()),
    }  # fmt: skip
    data = {"subject": network.name, "task": shown.name, "attribution": about, "findings": findings_json([finding]),
            "file": None if out is None else str(out)}  # fmt: skip
    lines: list[Any] = [repr(found), _largest(found), findings_grid([finding])]
    return Answer(data, lines + ([f"Saved to {out}"] if out is not None else []))


def _largest(found: Any) -> Grid:
    """The places with the largest attributions of the first examples."""
    table = found[: min(PROMPTS, len(found))].table
    rows = []
    for example, part in table.groupby("example"):
        best = part.reindex(part["attribution"].abs().sort_values(ascending=False, kind="stable").index).head(LARGEST)
        rows.append([int(example), ", ".join(f"{_place(row)} {row.attribution:+.3g}" for row in best.itertuples())])
    return Grid(["example", "largest attributions"], rows)


def _place(row: Any) -> str:
    """The token, or the pixel, or the position of a row of the table."""
    if hasattr(row, "token"):
        return str(row.token)
    return f"({row.y}, {row.x})" if hasattr(row, "y") else str(row.position)

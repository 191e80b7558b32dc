"""``microtome attribute``: which parts of the input an answer rests on."""

from functools import partial
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
        "microtome attribute organism:vision-cnn --method Grad-CAM++ --report why.html",
        "microtome attribute organism:language --task ioi --method occlusion --twins 19 --report why.html",
        "microtome attribute organism:language --task ioi --set steps=64 --set baseline=corrupt --json",
    ))(attribute)  # fmt: skip
    command(app, "attribute evaluate", examples=(
        "microtome attribute evaluate organism:vision-cnn --method gradient --method occlusion --measure deletion",
        "microtome attribute evaluate organism:vision-cnn --world scenes --method occlusion --measure relevance_mass",
        "microtome attribute evaluate organism:language --task ioi --axioms --report methods.html",
    ))(evaluate)  # fmt: skip


def attribute(
    subject: options.Subject,
    task: Annotated[str | None, typer.Option("--task", "-t", help="Name of a task of the subject, or a file of pairs.")] = None,
    method: Annotated[str, typer.Option("--method", "-m", help="A key or a usual name (saliency, Grad-CAM++); see: "
                                                 "microtome methods --question attribute")] = "integrated_gradients",
    at: Annotated[str | None, typer.Option("--at", help="Site to attribute to. Default: the input.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Another option of the method; repeat for several.")
    ] = None,
    metric: options.Metric = None,
    prompts: options.Prompts = 32,
    draws: Annotated[int, typer.Option("--draws", min=1, help="Random deletions of the null.")] = 39,
    twins: Annotated[
        int, typer.Option("--twins", min=0, help="Also ask so many randomised networks; 19 give p-values down to 0.05.")
    ] = 0,
    report: Annotated[Path | None, typer.Option("--report", help="File (.html) for a page with maps and tests.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File (.safetensors) to save the attributions to.")] = None,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
) -> Answer:  # fmt: skip
    """Attribute the answers of a task to the input, and test by deletion whether the places named matter.

    Open a saved one with mt.attribute.Attribution.load(file).
    """
    from microtome.attribute import deletion_test, with_null

    given.ends_in(report, ".html")
    chosen, implied = given.called("attribute", method, "Attribution")
    asked = given.options(chosen, {**implied, **given.settings(set_ or []), "at": at, "metric": metric})
    network = given.subject(subject, device)
    shown = given.task(network, task, seed, prompts)
    explain = partial(chosen.function, **asked)  # type: ignore[arg-type]
    found = with_null(network, shown, explain, twins=twins, seed=seed) if twins else explain(network, shown)
    finding = deletion_test(network, shown, found, draws=draws, seed=seed)
    if out is not None:
        found.save(out)
    if report is not None:
        from microtome.io import write_text
        from microtome.study.attribution_page import attribution_page

        write_text(report, attribution_page(network, shown, found, [finding], asked, seed=seed))
    missed, residual, p = found.relative_residual, found.residual, found.p
    about = {
        "method": found.method, "site": found.site, "axes": found.axes, "shape": list(found.values.shape), "options": asked,
        "evaluations": found.evaluations, "by_position": found.by_position(),
        "completeness_missed": None if missed is None else float(missed.median()), "output": found.output,
        "residual": residual, "lost": {name: float(v.double().mean()) for name, v in found.lost.items()},
        "p": None if p is None else p.flatten(1).amin(1), "tokens": found.tokens,
    }  # fmt: skip
    data = {"subject": network.name, "task": shown.name, "attribution": about, "findings": findings_json([finding]),
            "file": None if out is None else str(out), "report": None if report is None else str(report)}  # fmt: skip
    lines: list[Any] = [repr(found), _largest(found), *_audit(found), findings_grid([finding])]
    lines += [f"Saved to {out}"] if out is not None else []
    return Answer(data, lines + ([f"Page: {report}"] if report is not None else []))


def _audit(found: Any) -> list[str]:
    """What was lost on the way, and whether randomised networks give the same, where this is known."""
    lines = []
    if found.lost:
        worst, value = max(found.lost.items(), key=lambda row: float(row[1].double().abs().mean()))
        share = f"{float(value.double().mean()):+.3g} of {float(found.output.mean()):.3g}"
        without = found.settings.get("without_rule") or []
        lines.append(f"Most relevance is lost in {worst}: {share}")
        lines += [f"Without a rule, shared in proportion: {', '.join(without)}"] if without else []
    if found.null is not None:
        from microtome.study.attribution_page import beside_twins

        lines.append(beside_twins(found))
    return lines


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

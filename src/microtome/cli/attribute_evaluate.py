"""``microtome attribute evaluate``: methods of attribution side by side."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from microtome.cli import given, options, worlds
from microtome.cli.answer import Answer, findings_grid, findings_json, frame_grid, frame_json
from microtome.errors import UsageError

#: Where no method is named.
METHODS = ("gradient", "integrated_gradients")


def evaluate(
    subject: options.Subject,
    task: Annotated[str | None, typer.Option("--task", "-t", help="Name of a task of the subject, or a file of pairs.")] = None,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", "-m", help="A key or a usual name (saliency, Grad-CAM++); repeat for several. Default: "
                     "gradient, integrated_gradients."),
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option("--measure", help="deletion, insertion, comprehensiveness, sufficiency, road, infidelity, "
                     "max_sensitivity, local_lipschitz, gini, entropy, mprt, random_logit; with --world or --mask "
                     "also relevance_mass, relevance_rank, pointing_game; repeat for several. "
                     "Default: deletion, insertion, gini, mprt; with --world or --mask also relevance_mass."),
    ] = None,
    world: Annotated[
        str | None,
        typer.Option("--world", help="In place of --task, pictures of which it is known where the evidence lies: scenes, "
                     "mosaics, or an .npz with images, labels and masks."),
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option("--mask", help="Where the evidence lies: a mask of the world (default: object, or signal), or a role of "
                     "the task's prompts."),
    ] = None,
    at: Annotated[str | None, typer.Option("--at", help="Site that all methods attribute to. Default: the input.")] = None,
    axioms: Annotated[bool, typer.Option("--axioms", help="Also check the methods against the axioms.")] = False,
    report: Annotated[Path | None, typer.Option("--report", help="File (.html) for a page with charts and maps.")] = None,
    metric: options.Metric = None,
    prompts: options.Prompts = 32,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
) -> Answer:  # fmt: skip
    """Judge methods by measures: paired differences with intervals, corrected p-values, and a random map beside them."""
    from microtome.attribute import MEASURES, axiom_card, role_masks
    from microtome.attribute import evaluate as judge

    given.ends_in(report, ".html")
    names = list(dict.fromkeys(method or METHODS))
    chosen = {name: given.called("attribute", name, "Attribution") for name in names}
    explain = {name: partial(found.function, **given.options(found, {**implied, "at": at, "metric": metric}))  # type: ignore[arg-type]
               for name, (found, implied) in chosen.items()}  # fmt: skip
    usual = ("deletion", "insertion", "gini", "mprt") + (() if world is None and mask is None else ("relevance_mass",))
    asked = list(dict.fromkeys(measure or usual))
    located = [m for m in asked if m in MEASURES and MEASURES[m].family == "localisation"]
    if located and world is None and mask is None:
        raise UsageError(f"{', '.join(located)} need to know where the evidence lies: name a world with masks, --world scenes, "
                         "or a role of the task's prompts, --mask ROLE.")  # fmt: skip
    if world is not None and task is not None:
        raise UsageError("--world makes its own task; leave out --task, or --world.")
    network = given.subject(subject, device)
    if world is None:
        shown = given.task(network, task, seed, prompts)
        masks = None if mask is None else role_masks(network, shown, [mask])
        said = "" if mask is None else f"role {mask}"
    else:
        shown, masks, said = worlds.world(network, world, mask, seed, prompts)
    found = judge(network, shown, explain, measures=asked, masks=masks, seed=seed)
    finding, scores, differences = found.finding(), found.table, found.differences()
    cards = [axiom_card(partial(m.function, **implied)) for m, implied in chosen.values()] if axioms else []  # type: ignore[arg-type]
    if report is not None:
        from microtome.io import write_text
        from microtome.study.evaluation_page import evaluation_page

        write_text(report, evaluation_page(network, shown, found, dict(zip(names, cards)), seed=seed, masks=said))
    data: dict[str, Any] = {
        "subject": network.name, "task": shown.name, "methods": names, "measures": asked, "scores": frame_json(scores),
        "differences": frame_json(differences), "findings": findings_json([finding, *cards]),
        "axioms": {name: frame_json(card.table) for name, card in zip(names, cards)},  # type: ignore[arg-type]
        "masks": said or None, "report": None if report is None else str(report),
    }  # fmt: skip
    columns = ["measure", "better", "method", "mean", "low", "high"]
    pairs = ["measure", "a", "b", "difference", "low", "high", "q", "better"]
    lines = [frame_grid(scores, columns, "scores"), frame_grid(differences, pairs, "paired differences (a - b)")]
    lines += [frame_grid(c.table, ["axiom", "violation", "limit", "holds"], f"{n}: axioms") for n, c in zip(names, cards)]  # type: ignore[arg-type]
    return Answer(data, [*lines, findings_grid([finding]), *([f"Page: {report}"] if report is not None else [])])

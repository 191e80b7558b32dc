"""``microtome attribute evaluate``: methods of attribution side by side."""

from functools import partial
from typing import Annotated, Any

import typer

from microtome.cli import given, options
from microtome.cli.answer import Answer, findings_grid, findings_json, frame_grid, frame_json
from microtome.errors import UsageError

#: Where no method is named.
METHODS = ("gradient", "integrated_gradients")


def evaluate(
    subject: options.Subject,
    task: Annotated[str | None, typer.Option("--task", "-t", help="Name of a task of the subject, or a file of pairs.")] = None,
    method: Annotated[
        list[str] | None, typer.Option("--method", "-m", help="Repeat for several. Default: gradient, integrated_gradients."),
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option("--measure", help="deletion, insertion, comprehensiveness, sufficiency, road, infidelity, "
                     "max_sensitivity, local_lipschitz, gini, entropy, mprt, random_logit; repeat for several. "
                     "Default: deletion, insertion, gini, mprt."),
    ] = None,
    at: Annotated[str | None, typer.Option("--at", help="Site that all methods attribute to. Default: the input.")] = None,
    axioms: Annotated[bool, typer.Option("--axioms", help="Also check the methods against the axioms.")] = False,
    metric: options.Metric = None,
    prompts: options.Prompts = 32,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
) -> Answer:  # fmt: skip
    """Judge methods by measures: paired differences with intervals, corrected p-values, and a random map beside them."""
    from microtome.attribute import MEASURES, axiom_card
    from microtome.attribute import evaluate as judge

    names = list(dict.fromkeys(method or METHODS))
    chosen = {name: given.method("attribute", name, "Attribution") for name in names}
    explain = {name: partial(found.function, **given.options(found, {"at": at, "metric": metric}))  # type: ignore[arg-type]
               for name, found in chosen.items()}  # fmt: skip
    asked = list(dict.fromkeys(measure or ("deletion", "insertion", "gini", "mprt")))
    located = [m for m in asked if m in MEASURES and MEASURES[m].family == "localisation"]
    if located:
        raise UsageError(f"{', '.join(located)} need masks of the truth; call mt.attribute.evaluate(..., masks=) in Python.")
    network = given.subject(subject, device)
    shown = given.task(network, task, seed, prompts)
    found = judge(network, shown, explain, measures=asked, seed=seed)
    finding, scores, differences = found.finding(), found.table, found.differences()
    cards = [axiom_card(partial(m.function)) for m in chosen.values()] if axioms else []  # type: ignore[arg-type]
    data: dict[str, Any] = {
        "subject": network.name, "task": shown.name, "methods": names, "measures": asked, "scores": frame_json(scores),
        "differences": frame_json(differences), "findings": findings_json([finding, *cards]),
        "axioms": {name: frame_json(card.table) for name, card in zip(names, cards)},  # type: ignore[arg-type]
    }  # fmt: skip
    columns = ["measure", "better", "method", "mean", "low", "high"]
    pairs = ["measure", "a", "b", "difference", "low", "high", "q", "better"]
    lines = [frame_grid(scores, columns, "scores"), frame_grid(differences, pairs, "paired differences (a - b)")]
    lines += [frame_grid(c.table, ["axiom", "violation", "limit", "holds"], f"{n}: axioms") for n, c in zip(names, cards)]  # type: ignore[arg-type]
    return Answer(data, [*lines, findings_grid([finding])])

"""``microtome trace``: what inside carries a task."""

from typing import Annotated, Any

import typer

from microtome.cli import given, options
from microtome.cli.answer import Answer, findings_grid, findings_json, frame_grid, frame_json
from microtome.cli.command import command


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "trace", examples=(
        "microtome trace ioi --nodes head --direction denoising",
        "microtome trace classify --subject organism:vision-cnn --nodes relu3,relu4",
        "microtome trace pairs.csv --subject ./my-model --nodes layer_position --method attribution_patching",
    ))(trace)  # fmt: skip


def trace(
    task: Annotated[str, typer.Argument(help="Name of a task of the subject, or a file of pairs.")],
    subject: options.SubjectOption = options.DEFAULT,
    nodes: Annotated[
        str,
        typer.Option("--nodes", "-n", help="layer, layer_position, head, head_position, mlp, component; or names such as "
                     "a3.h5,m2,relu4."),
    ] = "component",
    direction: Annotated[
        str | None, typer.Option("--direction", help="denoising (default: clean into corrupt) or noising (corrupt into clean).")
    ] = None,
    method: Annotated[
        str, typer.Option("--method", "-m", help="activation_patching (exact) or attribution_patching (first order, fast).")
    ] = "activation_patching",
    metric: options.Metric = None,
    prompts: options.Prompts = 64,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
) -> Answer:  # fmt: skip
    """Exchange each part between clean and corrupt runs and measure how much of the behaviour comes along."""
    from microtome.trace.listing import KINDS

    chosen = given.method("trace", method, "Effects")
    wanted: Any = nodes if nodes in KINDS else [n.strip() for n in nodes.split(",") if n.strip()]
    asked = given.options(chosen, {"nodes": wanted, "direction": direction, "metric": metric, "seed": seed})
    network = given.subject(subject, device)
    shown = given.task(network, task, seed, prompts)
    effects = chosen.function(network, shown, **asked)  # type: ignore[misc]
    finding, table = effects.finding(), effects.table
    best = table.reindex(table["effect"].abs().sort_values(ascending=False, kind="stable").index)
    columns = [c for c in ("node", "effect", "low", "high", "q") if c in table]
    data = {"subject": network.name, "task": shown.name, "method": effects.name, "metric": effects.metric,
            "forwards": effects.forwards, "nodes": frame_json(table), "findings": findings_json([finding])}  # fmt: skip
    title = f"{effects.name}: share of the clean-corrupt difference"
    return Answer(data, [frame_grid(best, columns, title), findings_grid([finding])])

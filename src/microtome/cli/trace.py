"""``microtome trace``: what inside carries a task."""

from pathlib import Path
from typing import Annotated, Any

import typer

from microtome.cli import given, options
from microtome.cli.answer import Answer, findings_grid, findings_json, frame_grid, frame_json
from microtome.cli.command import command
from microtome.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "trace", examples=(
        "microtome trace ioi --nodes head --direction denoising",
        "microtome trace classify --subject organism:vision-cnn --nodes relu3,relu4",
        "microtome trace pairs.csv --subject ./my-model --nodes layer_position --method attribution_patching",
        "microtome trace ioi --scorer eap_ig --size 40 --out graph.json",
        "microtome trace evaluate graph.json --task ioi --ablation corrupt --ablation mean",
    ))(trace)  # fmt: skip


def trace(
    task: Annotated[str, typer.Argument(help="Name of a task of the subject, a file of pairs, or 'evaluate'.")],
    circuit: Annotated[
        Path | None, typer.Argument(help="After 'evaluate': a file of scored edges, ours or in MIB's JSON.")
    ] = None,
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
    scorer: Annotated[
        str | None, typer.Option("--scorer", help="Score edges instead of nodes: eap, eap_ig, acdc, edge_masks, "
                                 "information_flow_routes."),
    ] = None,
    size: Annotated[int | None, typer.Option("--size", min=1, help="With --scorer: mark the circuit of so many edges.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="With --scorer: write to a .json (MIB's form: .mib.json) or .graphml.")
    ] = None,
    of: Annotated[str | None, typer.Option("--task", help="With 'evaluate': the task. Default: the one of the file.")] = None,
    ablation: Annotated[
        list[str] | None, typer.Option("--ablation", help="With 'evaluate': corrupt, mean, resample, zero; repeat for several.")
    ] = None,
    sample: Annotated[
        int, typer.Option("--sample", min=0, help="Approximate scores: nodes or edges drawn at random that are patched exactly "
                          "as well, for the rank correlation; 0 = none."),
    ] = 40,
    metric: options.Metric = None,
    prompts: options.Prompts = 64,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
) -> Answer:  # fmt: skip
    """Exchange each part between clean and corrupt runs and measure how much of the behaviour comes along."""
    from microtome.cli import trace_edges
    from microtome.trace.listing import KINDS

    if circuit is not None and task != "evaluate":
        raise UsageError(f"one task at a time: got '{task}' and '{circuit}'. To judge a file: trace evaluate {circuit}")
    if task == "evaluate":
        return trace_edges.evaluate(circuit, subject, of, ablation, metric, prompts, seed, device)
    if scorer is not None:
        return trace_edges.score(task, subject, scorer, size, out, sample, metric, prompts, seed, device)
    if size is not None or out is not None:
        raise UsageError("--size and --out go with --scorer: nodes have effects and no graph.")

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
    beside, lines = trace_edges.beside_exact(effects, network, shown, sample, seed)
    return Answer({**data, **beside}, [frame_grid(best, columns, title), *lines, findings_grid([finding])])

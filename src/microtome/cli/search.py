"""``microtome search``: the units of named properties."""

from typing import Annotated

import typer

from microtome.cli import given, options
from microtome.cli.answer import Answer, findings_grid, findings_json, frame_grid, frame_json
from microtome.cli.command import command

ROWS = 12_000


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "search", examples=(
        "microtome search organism:vision-cnn --site relu3 --site relu4",
        "microtome search organism:language --site blocks.1.mlp.hidden --property colour",
    ))(search)  # fmt: skip


def search(
    subject: options.Subject,
    site: options.Sites,
    properties: Annotated[
        list[str] | None, typer.Option("--property", "-p", help="Name of a property; repeat for several. Default: all.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Units reported per property.")] = 1,
    draws: Annotated[int, typer.Option("--draws", min=1, help="Shifted labels of the null.")] = 199,
    data: options.Data = None,
    positions: options.Positions = "auto",
    rows: options.Rows = ROWS,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
) -> Answer:
    """Find the units that tell named properties of the data, judged on other documents and against shifted labels."""
    from microtome.search import selective_units

    network = given.subject(subject, device)
    recording = given.recording(network, site, data, seed=seed, positions=positions, rows=rows)
    finding = selective_units(recording, properties=properties or None, top=top, draws=draws, seed=seed)
    table = finding.table.sort_values("auroc", ascending=False)  # type: ignore[union-attr]
    columns = ["property", "unit", "sign", "auroc", "low", "high", "rival", "specificity", "q"]
    data_out = {"subject": network.name, "units": frame_json(finding.table), "findings": findings_json([finding])}  # type: ignore[arg-type]
    return Answer(data_out, [frame_grid(table, columns, "Units of properties"), findings_grid([finding])])

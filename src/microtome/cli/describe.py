"""``microtome describe``: units in words."""

from typing import Annotated

import typer

from microtome.cli import given, options
from microtome.cli.answer import Answer, findings_grid, findings_json, frame_grid, frame_json
from microtome.cli.command import command

ROWS = 8000


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "describe", examples=(
        "microtome describe organism:language --site blocks.1.mlp.hidden --units 0:40",
        "microtome describe ./my-model --site blocks.1.mlp.hidden --data texts.jsonl --json",
    ))(describe)  # fmt: skip


def describe(
    subject: options.Subject,
    site: options.Site,
    units: Annotated[str | None, typer.Option("--units", "-u", help="E.g. 3,5,8:12. Default: all.")] = None,
    length: Annotated[int, typer.Option("--length", min=1, help="Longest description, in conditions.")] = 3,
    draws: Annotated[int, typer.Option("--draws", min=1, help="Draws of the null.")] = 999,
    data: options.Data = None,
    rows: options.Rows = ROWS,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
) -> Answer:
    """Describe units by short statements over tokens and context, found without a language model, judged on other documents."""
    from microtome.describe import predicate_explainer, token_texts

    network = given.subject(subject, device)
    recording = given.recording(network, [site], data, seed=seed, rows=rows)
    chosen = given.units(units, recording.matrix().shape[1])
    tokens = token_texts(network) if network.tokenizer is not None else None
    found = predicate_explainer(recording, units=chosen, tokens=tokens, length=length, draws=draws, seed=seed)
    finding, table = found.finding(), found.table.sort_values("score", ascending=False)
    columns = ["unit", "description", "score", "low", "high", "q", "verdict"]
    data_out = {
        "subject": network.name, "site": site, "descriptions": frame_json(found.table), "findings": findings_json([finding]),
    }  # fmt: skip
    return Answer(data_out, [frame_grid(table, columns, "Units"), findings_grid([finding])])

"""``microtome record``: values of sites over data, into a folder."""

from pathlib import Path
from typing import Annotated

import typer

from microtome.cli import given, options
from microtome.cli.answer import Answer
from microtome.cli.command import command, keeps


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "record", examples=(
        "microtome record organism:vision-cnn --site relu3 --site relu4 --out recordings/vision",
        "microtome record ./my-model --site blocks.2.resid_post --data texts.jsonl --out recordings/texts",
    ))(record)  # fmt: skip


def record(
    subject: options.Subject,
    site: options.Sites,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the recording; an interrupted one is continued.")],
    data: options.Data = None,
    positions: options.Positions = "auto",
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Samples per forward pass.")] = None,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
) -> Answer:
    """Record sites over data to a folder: safetensors shards, a Parquet index, and a manifest of hashes.

    Open it with mt.Recording.load(folder).
    """
    network = given.subject(subject, device)
    with keeps(f"finished parts are in '{out}'; give the same command again to go on."):
        found = given.recording(network, site, data, seed=seed, positions=positions, to=out, batch=batch)
    sites = {name: list(found[name].tensor().shape[1:]) for name in found.sites}
    data_out = {
        "subject": network.name, "folder": str(out), "rows": len(found), "samples": int(found.index["sample"].nunique()),
        "sites": sites, "properties": found.properties, "fingerprint": found.fingerprint,
    }  # fmt: skip
    return Answer(data_out, [repr(found), f"Written to {out}"])
